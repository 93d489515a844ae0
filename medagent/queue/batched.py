"""The strategy `batched`: group commit.

A batch is committed when the buffer holds `batchSize` messages, when its oldest message has waited `batchFlushMs`, at
shutdown, or, with `batchAdaptive`, as soon as no commit is running: while one commit runs, the next batch gathers. So the
interval is an upper bound, and a lone sender does not wait for it. Large messages do not hold others back
(`medagent.queue.buffer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from medagent.queue.base import StrategyContext
from medagent.queue.buffer import Buffer
from medagent.types import InboundMessage


class BatchedStrategy:
    """Gathers messages and commits them together."""

    def __init__(self, context: StrategyContext) -> None:
        self._commit = context.commit
        self._spawn = context.spawn
        self._clock = context.clock
        self._size = context.batch.max_batch_size
        self._interval = context.batch.flush_interval_ms / 1000
        self._adaptive = context.batch.adaptive
        self._buffer = Buffer(self._size)
        self._timer: asyncio.TimerHandle | None = None
        self._scheduled = False
        self._running = False
        self._due = False
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self._buffer.add(messages)
        if not self._buffer or self._running or self._scheduled:
            return
        if self._adaptive or len(self._buffer) >= self._size:
            # at the end of this turn of the loop, so that everything read in it shares the commit
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)
        elif self._timer is None:
            self._arm()

    def _arm(self) -> None:
        wait = self._buffer.oldest.received_at + self._interval - self._clock.monotonic()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, wait), self._interval_over)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _interval_over(self) -> None:
        self._timer = None
        self._due = True
        self._start()

    def _start(self) -> None:
        self._scheduled = False
        if not self._running and self._buffer:
            self._running = True
            self._idle.clear()
            self._disarm()
            self._spawn(self._drain(), "batched commits")

    async def _drain(self) -> None:
        """Commit until what is left may wait."""
        try:
            while self._buffer and (self._adaptive or self._due or len(self._buffer) >= self._size):
                self._due = False
                await self._commit(self._buffer.take())
        finally:
            self._running = False
            self._idle.set()
        if self._buffer and not self._adaptive:
            self._arm()

    async def flush(self) -> None:
        while self._buffer or self._running:
            self._due = True
            self._start()
            await self._idle.wait()
