"""The channel `ward-monitor`: frames with a checksum over TCP.

A device sends `$17,temperature,37.2*72`, and is told `+17` when that is on disk, or
`-17`; of the server's verdict it is told nothing. A frame that is broken gets `-`.
"""

from __future__ import annotations

from collections.abc import Callable

from medagent import hookimpl
from medagent.channel import ChannelFactory
from medagent.config.settings import Parameter, Registry
from medagent.listening import (
    TcpChannel,
    TcpConnection,
    duplicate_parameters,
    limit_parameters,
)
from medagent.types import InboundMessage, Refusal
from medagent_ward_monitor.frames import content_of

SCHEME = "ward-monitor"
RESEND_SECONDS = 600
"""A device that sends again does so within that; its numbers come round later."""


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    # what may stand behind the ? of an address; medagent checks and documents it
    for parameter in (
        *limit_parameters(SCHEME),
        *duplicate_parameters(SCHEME, window=RESEND_SECONDS),
    ):
        registry.add_parameter(parameter)
    registry.add_parameter(
        Parameter(
            "encoding",
            (SCHEME,),
            str,
            "utf-8",
            "character set of the messages",
            choices=("utf-8", "latin-1"),
        )
    )


@hookimpl
def medagent_register_channel_types(
    register: Callable[[str, ChannelFactory], None],
) -> None:
    register(SCHEME, WardMonitorChannel)


class WardMonitorChannel(TcpChannel["WardMonitorConnection"]):
    """What goes to the server, and what devices are told. Listening is done for it."""

    content_type = "text/plain"

    def make_connection(self) -> WardMonitorConnection:
        return WardMonitorConnection(self)

    def forward(self, message: InboundMessage) -> str:
        """The text for the server; for a message of an earlier run, too."""
        encoding = str(self.config.parameters["encoding"])
        return content_of(message.body or b"").decode(encoding, "replace")

    def when_committed(self, message: InboundMessage) -> bytes:
        """It is on disk: only now may the device forget it."""
        return f"+{message.control_id}\r\n".encode()

    def when_refused(self, message: InboundMessage, refusal: Refusal) -> bytes:
        """It is not on disk, and the device must keep it."""
        return f"-{message.control_id}\r\n".encode()


class WardMonitorConnection(TcpConnection):
    """One device: finds the messages in the bytes that come."""

    _rest = b""

    def received(self, data: bytes) -> None:
        *frames, self._rest = (self._rest + data).split(b"\r\n")
        messages = []
        for frame in frames:
            try:
                number, _, _ = content_of(frame).partition(b",")
            except ValueError as error:
                self.note("broken frame", str(error))
                self.send(b"-\r\n")
            else:
                messages.append(self.message(frame, number.decode("ascii", "replace")))
        self.accept(messages)
        if len(self._rest) > self.context.max_body_bytes:
            self.drop("frame too long")

    @property
    def held(self) -> int:
        """Bytes of an unfinished message, so that medagent can bound and time it."""
        return len(self._rest)
