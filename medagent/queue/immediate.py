"""The strategy `immediate`: one commit a message, for those who want each message's fate to be its own."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from medagent.queue.base import StrategyContext
from medagent.types import InboundMessage


class ImmediateStrategy:
    """Commits every message by itself, in order."""

    def __init__(self, context: StrategyContext) -> None:
        self._context = context
        self._buffer: deque[InboundMessage] = deque()
        self._running = False
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self._buffer.extend(messages)
        if not self._running and self._buffer:
            self._running = True
            self._idle.clear()
            self._context.spawn(self._drain(), "immediate commits")

    async def _drain(self) -> None:
        try:
            while self._buffer:
                await self._context.commit((self._buffer.popleft(),))
        finally:
            self._running = False
            self._idle.set()

    async def flush(self) -> None:
        while self._running:
            await self._idle.wait()
