"""Where a channel is tested: a real queue behind it, a server that only the test has answer, and devices."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from medagent.channel import Channel, ChannelContext
from medagent.testing.contracts.channel.device import Device, Reply, What
from medagent.testing.contracts.promise import promised
from medagent.testing.queue import QueueWorld
from medagent.types import InboundMessage

PATIENCE = 5.0
"""Seconds within which what must come has to come."""
SILENCE = 0.15
"""Seconds in which nothing must come."""

_numbers = itertools.count(1)


def new_names(count: int) -> list[str]:
    """Names that no other message has."""
    return [f"M{next(_numbers):06d}" for _ in range(count)]


class Peer:
    """One device, as the suite uses it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._receiving: asyncio.Task[Reply] | None = None

    async def send(self, *names: str) -> None:
        """Send these, one after the other. Raises `OSError`, `EOFError` or `TimeoutError`."""
        async with asyncio.timeout(PATIENCE):
            for name in names:
                await self._device.send(name)

    async def receive(self, seconds: float = PATIENCE) -> Reply | None:
        """The next reply, None if none comes in time. Raises `OSError` or `EOFError` if the channel has hung up."""
        # a driver's receive is not cut short: half of a reply may have been read
        self._receiving = self._receiving or asyncio.ensure_future(self._device.receive())
        await asyncio.wait((self._receiving,), timeout=seconds)
        if not self._receiving.done():
            return None
        done, self._receiving = self._receiving, None
        return done.result()

    async def hung_up(self, seconds: float = PATIENCE) -> bool:
        """Whether the channel ends the connection in time; replies before that are passed over."""
        with contextlib.suppress(OSError, EOFError):
            async with asyncio.timeout(seconds):
                while await self.receive(seconds) is not None:
                    pass
            return False
        return True

    async def replies(self, seconds: float = SILENCE) -> list[Reply]:
        """All that comes until nothing does for so long, or the channel hangs up."""
        found = []
        with contextlib.suppress(OSError, EOFError):
            while (reply := await self.receive(seconds)) is not None:
                found.append(reply)
        return found

    async def close(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            await asyncio.wait((self._receiving,))
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._device.close()


@dataclass(slots=True)
class ChannelSite:
    """A channel that listens, and what surrounds it."""

    queue: QueueWorld
    channel: Channel
    connect: Callable[[str, int], object]
    """The driver's, which returns an awaitable `Device`."""
    accepted: list[InboundMessage] = field(default_factory=list)
    """All that the channel has handed over, in order."""
    peers: list[Peer] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return split_address(self.channel.address)

    def record(self, context: ChannelContext) -> ChannelContext:
        """Have what the channel hands over noted on its way to the core."""
        hand_over = context.accept

        def accept(messages: list[InboundMessage]) -> None:
            self.accepted += messages
            hand_over(messages)

        context.accept = accept
        return context

    async def settled(self) -> None:
        """Wait until nothing is handed over any more that lies in the sockets."""
        count = -1
        while count != len(self.accepted):
            count = len(self.accepted)
            await asyncio.sleep(SILENCE / 3)

    async def until(self, condition: Callable[[], object], promise: str, where: str, found: str) -> None:
        """Let the loop turn until the condition holds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.002)
        promised(condition(), promise, where, found)


def split_address(address: str) -> tuple[str, int]:
    """`Channel.address` as host and port."""
    host, _, port = address.rpartition(":")
    promised(
        host and port.isdigit(),
        "`address` is host and port while the channel listens",
        "medagent.channel.Channel.address",
        f"it is {address!r}",
    )
    return host.strip("[]"), int(port)


def of_kind(replies: Iterable[Reply], *kinds: What) -> list[str]:
    """The names of the replies of these kinds, in order."""
    return [reply.name for reply in replies if reply.what in kinds]
