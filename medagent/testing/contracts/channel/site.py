"""Where a channel is tested: a real queue behind it, a server that only the test has answer, and devices."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from medagent.channel import Channel, ChannelContext
from medagent.queue.parts import with_parts
from medagent.testing.contracts.channel.device import Device, Reply, What
from medagent.testing.contracts.promise import expect
from medagent.testing.queue import QueueWorld
from medagent.types import InboundMessage

SILENCE = 0.15
"""Seconds in which nothing must come."""
GONE = (OSError, EOFError, TimeoutError)
"""What a driver raises when the channel has hung up or does not read."""

_numbers = itertools.count(1)
_given: set[str] = set()
"""All names so far."""


def new_names(count: int) -> list[str]:
    """Names that no other message has."""
    names = [f"M{next(_numbers):06d}" for _ in range(count)]
    _given.update(names)
    return names


def told(replies: Iterable[Reply], *kinds: What) -> list[str]:
    """The names of the replies of these kinds, in order."""
    return [reply.name for reply in replies if reply.what in kinds]


async def together(*working: Awaitable[object]) -> None:
    """Wait for all of these, and then raise what the first has raised that failed."""
    for outcome in await asyncio.gather(*working, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


class Peer:
    """One device, as the suite uses it."""

    def __init__(self, device: Device, patience: float) -> None:
        """`patience`: seconds that `send` and `receive` may take."""
        self._device = device
        self._patience = patience
        self._receiving: asyncio.Task[Reply] | None = None

    async def send(self, *names: str) -> None:
        """Send these, one after the other. Raises one of `GONE`."""
        async with asyncio.timeout(self._patience):
            for name in names:
                await self._device.send(name)

    async def receive(self, count: int = 1, seconds: float | None = None) -> list[Reply]:
        """The next replies, fewer if they do not come in time or the channel hangs up."""
        replies: list[Reply] = []
        with contextlib.suppress(*GONE):
            while len(replies) < count and (reply := await self._next(self._patience if seconds is None else seconds)):
                replies.append(reply)
        return replies

    async def rest(self) -> list[Reply]:
        """All that comes until nothing has come for a while."""
        return await self.receive(1_000_000, SILENCE)

    async def hung_up(self) -> bool:
        """Whether the channel ends the connection in time; replies before that are passed over."""
        try:
            while await self._next(self._patience):
                pass
        except GONE:
            return True
        return False

    async def close(self) -> None:
        """Hang up."""
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait((self._receiving,))
        with contextlib.suppress(*GONE):
            async with asyncio.timeout(1.0):
                await self._device.close()

    async def _next(self, seconds: float) -> Reply | None:
        # a driver's receive is never cut short: it may have read half of a reply
        self._receiving = self._receiving or asyncio.ensure_future(self._device.receive())
        await asyncio.wait((self._receiving,), timeout=seconds)
        if not self._receiving.done():
            return None
        done, self._receiving = self._receiving, None
        reply = done.result()
        expect(
            reply.what is What.REFUSED or reply.name in _given,
            f"the device returned a name that was never sent: {reply.name}; `receive` must return the name that `send` was "
            "given, unless it is the channel that speaks of a message that nobody has sent",
        )
        return reply


class Taken(NamedTuple):
    """A message that a channel has handed over; its body is the core's."""

    link: str
    seq: int


@dataclass(slots=True)
class ChannelSite:
    """A channel, and what surrounds it."""

    queue: QueueWorld
    channel: Channel
    accepted: list[Taken] = field(default_factory=list)
    """All that the channel has handed over, in order."""
    peers: list[Peer] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Where the channel listens."""
        host, _, port = self.channel.address.rpartition(":")
        expect(host and port.isdigit(), f"`address` of a listening channel is {self.channel.address!r}, not host:port")
        return host.strip("[]"), int(port)

    def record(self, context: ChannelContext) -> None:
        """Note what the channel hands over, on its way to the core."""
        hand_over = context.accept

        def accept(messages: list[InboundMessage]) -> None:
            hand_over(messages)
            self.accepted += [Taken(message.link, message.seq) for message in with_parts(messages)]

        context.accept = accept

    async def read_back(self, taken: Taken) -> InboundMessage | None:
        """The message as it is read from disk in a later run; None if it is not there."""
        return await self.queue.store.fetch_one(taken.seq)

    def forward(self, message: InboundMessage) -> str:
        """`Channel.forward`, which must not raise."""
        try:
            text = self.channel.forward(message)
        # a plugin may raise anything
        except Exception as error:
            expect(False, f"`forward` raised {error!r}")
            raise
        expect(isinstance(text, str), f"`forward` returned {type(text).__name__} instead of a text")
        return text
