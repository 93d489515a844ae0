"""A stand-in for the core, for tests of a channel: it keeps what the channel hands over, and commits nothing by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping

from medagent.channel import Channel, ChannelContext
from medagent.config.model import ChannelConfig
from medagent.queue.parts import with_parts
from medagent.tasks import Tasks
from medagent.types import Delivery, InboundMessage


class RecordingCore:
    """Gives a channel its context, records what comes, and lets a test wait for it."""

    def __init__(self) -> None:
        self.reads: list[list[InboundMessage]] = []
        """What each call of `accept` brought."""
        self.outcomes: list[tuple[InboundMessage, Delivery]] = []
        """What `delivered` reported."""
        self.reported: list[tuple[str, Exception, str]] = []
        """What each call of `ChannelContext.fault` brought."""
        self.fault: Exception | None = None
        """Raised by the next calls of `accept`."""
        self.tasks = Tasks()
        self._seq = 0
        self._changed = asyncio.Event()

    @property
    def messages(self) -> list[InboundMessage]:
        """All accepted messages, in order."""
        return [message for read in self.reads for message in read]

    def context(
        self,
        config: ChannelConfig,
        *,
        bind_any: bool = False,
        max_body_bytes: int = 1_000_000,
        registers: Mapping[str, int] | None = None,
    ) -> ChannelContext:
        """What a channel factory takes."""
        return ChannelContext(
            config=config,
            bind_any=bind_any,
            registers=registers or {},
            max_body_bytes=max_body_bytes,
            log=logging.getLogger(f"medagent.channel.{config.name}"),
            accept=self._accept,
            delivered=self._delivered,
            spawn=self.tasks.spawn,
            fault=self._report,
        )

    async def accepted(self, count: int) -> list[InboundMessage]:
        """All accepted messages, once there are `count`. Raises `TimeoutError` after ten seconds."""
        await self.until(lambda: len(self.messages) >= count)
        return self.messages

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the channel has called in such a way that `condition` holds. Raises `TimeoutError` after ten seconds."""
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def _accept(self, messages: list[InboundMessage]) -> None:
        if self.fault is not None:
            raise self.fault
        for message in with_parts(messages):
            self._seq += 1
            message.seq = self._seq
        self.reads.append(messages)
        self._changed.set()

    def _report(self, where: str, error: Exception, host: str) -> None:
        self.reported.append((where, error, host))
        self._changed.set()

    def _delivered(self, outcomes: list[tuple[InboundMessage, Delivery]]) -> None:
        self.outcomes += outcomes
        self._changed.set()


@contextlib.asynccontextmanager
async def running(channel: Channel) -> AsyncIterator[tuple[str, int]]:
    """Start a channel and close it at the end; gives the host and port where it listens."""
    await channel.start()
    try:
        host, _, port = channel.address.rpartition(":")
        yield host.strip("[]"), int(port)
    finally:
        await channel.close()
