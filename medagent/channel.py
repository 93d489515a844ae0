"""What a channel is: a listener for one protocol, made by a plugin and hosted by the core."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from medagent.config.model import ChannelConfig
from medagent.types import Answer, Delivery, InboundMessage, Refusal


class Channel(Protocol):
    """A listener for one protocol.

    It reads messages and hands them over with `ChannelContext.accept`. The core commits them and then calls `committed` or
    `refused`; later, when the server has spoken, `answer`. A channel never acknowledges a message by itself before one of these
    calls: that is what makes a positive acknowledgment mean "on disk". Whatever one device sends, or does not read, disturbs
    no other. All methods run on the event loop and must not block.

    `medagent.testing.contracts.channel.ChannelContract` checks all that is said here.
    """

    content_type: str
    """Of what is forwarded, such as `x-application/hl7-v2+er7`."""

    async def start(self) -> None:
        """Listen. Raises `medagent.errors.BindFailed`; the supervisor then tries again with back-off."""

    async def stop_accepting(self) -> None:
        """Close the listener and read no more; connections stay open for the acknowledgments still due."""

    async def close(self) -> None:
        """Write out what is buffered for the devices, within a second or two, and close every connection."""

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        """`messages` are on disk: acknowledge them, if the protocol or the channel's mode asks for it, in this order.

        One that is a copy of a stored message (`InboundMessage.copy_of`) is among them: it is acknowledged as the first was.
        """

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        """`messages` were not accepted and will not be: send the negative acknowledgments. `refusal` says why."""

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        """`answers` are the server's verdicts: tell the devices what the mode asks for. Returns one `Delivery` each, in order.

        The answer goes to the connection that `InboundMessage.link` names; if that is gone, so is the device (`Delivery.GONE`).
        `Delivery.QUEUED` is for a device that is slow to read: the end is then reported by `ChannelContext.delivered`.
        """

    def forward(self, message: InboundMessage) -> str:
        """The text that the server gets for `message`, whose body is not None. Must not raise for a body this channel accepted.

        It is called before `answer`, so for a message read back from disk it is the place to set `origin` again if `answer`
        needs it.
        """

    def pause_reading(self) -> None:
        """The core is behind: read nothing more from any connection until `resume_reading`."""

    def resume_reading(self) -> None:
        """Read again."""

    @property
    def connections(self) -> int:
        """Open device connections, for the statistics."""

    @property
    def address(self) -> str:
        """Where it listens, such as `127.0.0.1:2575`; "" while it does not."""


@runtime_checkable
class Keyed(Protocol):
    """A channel that can tell which messages belong together: of one key the core has only one unanswered at a time, in the
    order of acceptance, while other keys go on beside it."""

    @property
    def max_workers(self) -> int:
        """Keys that may be unanswered at a time; 0 if this channel is not configured to have keys. Asked once, at start."""

    def key(self, message: InboundMessage) -> str:
        """The key of `message`, whose body is not None, such as a patient's number; "" for none, which is a key too.

        Called once when a message comes into memory, in this run or a later one, so it must be the same for the same bytes at
        any time. Read what is needed, and build no tree.
        """


@runtime_checkable
class Resynchronizable(Protocol):
    """A channel whose senders number their messages, and that stops on a number it does not expect."""

    async def resync(self, expected: int | None, link: str) -> None:
        """Release the sender's link of the key `link`, or with "" all that are stopped; returns when that is on disk.

        They expect number `expected` next, or with None whatever comes. Raises `medagent.errors.ChannelError`.
        """


@runtime_checkable
class Reconfigurable(Protocol):
    """A channel that can take other address parameters while it listens."""

    def reconfigure(self, config: ChannelConfig) -> bool:
        """Work by the parameters of `config` from now on, on open connections too; name, scheme, host and port are as before.

        False, with nothing changed, if it cannot: the core then drains this channel, closes it and starts another. Called
        with the same parameters when `ChannelContext.max_body_bytes` has changed.
        """


@runtime_checkable
class Noticing(Protocol):
    """A channel that counts what is wrong with its devices, its own refusals included, for `medagent status`."""

    @property
    def notices(self) -> Mapping[str, int]:
        """How often since the start, by kind in a few words, such as `message too long`. Nothing of a message's content."""


def _untold(where: str, error: Exception, host: str) -> None:
    """For a channel outside an agent."""


@dataclass(slots=True)
class ChannelContext:
    """What the core gives a channel, which only reads it."""

    config: ChannelConfig
    """The channel as configured: where it listens, and its parameters."""
    bind_any: bool
    """`--bind any`: listen on all interfaces, whatever host the Endpoint names."""
    registers: Mapping[str, int]
    """What `InboundMessage.registers` and the admissions of this channel's messages have left on disk, by name.

    It is kept up to date: when `committed` or `refused` is called, it is as the commit has left it.
    """
    max_body_bytes: int
    """A longer body can never be accepted, so a channel need not keep more than this of one. A reload may change it."""
    log: logging.Logger
    """Never give it message content."""
    accept: Callable[[list[InboundMessage]], None]
    """Hand over the messages of one read, in order. Returns at once; `committed` or `refused` follows for each."""
    delivered: Callable[[list[tuple[InboundMessage, Delivery]]], None]
    """Report how answers that were `Delivery.QUEUED` ended (`SENT` or `GONE`)."""
    # the result of a background task is not looked at, so its type does not matter
    spawn: Callable[[Coroutine[Any, Any, Any], str], object]
    """Run a coroutine beside the channel, under a name; it is cancelled after `close`, and a failure is logged."""
    fault: Callable[[str, Exception, str], None] = _untold
    """Report an exception of the channel's own code that it has caught: the method, the exception, and the host of the device.

    It is counted as a fault of the plugin. Such faults in a row, of several hosts and with no message of anybody accepted
    between them, have the channel made anew. `medagent.listening` reports what `TcpConnection.received` raises.
    """


ChannelFactory = Callable[[ChannelContext], Channel]
"""What `medagent_register_channel_types` registers; a class whose constructor takes the context is one."""
