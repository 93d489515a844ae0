"""The queue strategy `commitDelay`: no delay for a lone message, a short one for more to come while there are many."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from medagent import hookimpl
from medagent.config.settings import Registry, Setting
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.types import InboundMessage

log = logging.getLogger(__name__)


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    registry.add_setting(
        Setting("commitDelayMs", int, 2, "Wait for more messages while there are many, milliseconds.", minimum=1, maximum=100)
    )


@hookimpl
def medagent_make_queue_strategy(name: str, context: StrategyContext) -> QueueStrategy | None:
    return CommitDelayStrategy(context) if name == "commitDelay" else None


class CommitDelayStrategy:
    """Implements `medagent.queue.base.QueueStrategy`."""

    def __init__(self, context: StrategyContext) -> None:
        self._context = context
        self._delay = float(context.settings["commitDelayMs"]) / 1000
        self._size = context.batch.max_batch_size
        self._buffer: deque[InboundMessage] = deque()
        self._many = False
        """The last commit held more than one message."""
        self._running = False
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self._buffer.extend(messages)
        if self._buffer and not self._running:
            self._running = True
            self._idle.clear()
            self._context.spawn(self._drain(), "commitDelay commits")

    async def _drain(self) -> None:
        try:
            while self._buffer:
                if self._many and len(self._buffer) < self._size:
                    await asyncio.sleep(self._delay)
                batch = [self._buffer.popleft() for _ in range(min(self._size, len(self._buffer)))]
                self._many = len(batch) > 1
                log.debug("committing %d", len(batch))
                await self._context.commit(batch)
        finally:
            self._running = False
            self._idle.set()

    async def flush(self) -> None:
        await self._idle.wait()
