"""The queue strategy `commitDelay`: no delay for a lone message, a short one for more
to come while there are many, as PostgreSQL's `commit_delay`.

A strategy decides only when accepted messages are committed. What is acknowledged is
decided by medagent, from what the queue says is on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from medagent import hookimpl
from medagent.config.settings import Registry, Setting
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.types import InboundMessage

NAME = "commitDelay"

log = logging.getLogger(__name__)


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    # what an Agent may set; medagent checks and documents it
    registry.add_setting(
        Setting(
            "commitDelayMs",
            int,
            2,
            "Wait for more messages while there are many, milliseconds.",
            minimum=1,
            maximum=100,
        )
    )


@hookimpl
def medagent_make_queue_strategy(name: str, context: StrategyContext) -> QueueStrategy | None:
    return CommitDelayStrategy(context) if name == NAME else None


class CommitDelayStrategy:
    """Implements `medagent.queue.base.QueueStrategy`."""

    def __init__(self, context: StrategyContext) -> None:
        # also made once only to see whether its name is known: begin nothing here
        self._context = context
        self._delay = float(context.settings["commitDelayMs"]) / 1000
        self._size = context.batch.max_batch_size
        self._waiting: deque[InboundMessage] = deque()
        self._many = False
        """The last commit held more than one message."""
        self._running = False
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, messages: Sequence[InboundMessage]) -> None:
        """Take the messages of one read; must return at once."""
        self._waiting.extend(messages)
        if self._waiting and not self._running:
            self._running = True
            self._idle.clear()
            self._context.spawn(self._commit_all(), "commitDelay commits")

    async def _commit_all(self) -> None:
        """Commit in the order of `put`; what comes meanwhile shares the next commit."""
        try:
            while self._waiting:
                if self._many and len(self._waiting) < self._size:
                    await asyncio.sleep(self._delay)
                count = min(self._size, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                self._many = len(batch) > 1
                log.debug("committing %d", len(batch))
                await self._context.commit(batch)  # returns when it is on disk
        finally:
            self._running = False
            self._idle.set()

    async def flush(self) -> None:
        """Return when all is committed: medagent stops, or reloads."""
        await self._idle.wait()
