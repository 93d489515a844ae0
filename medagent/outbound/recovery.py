"""Reading back the pushes that an earlier run has not brought to their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from medagent.queue.base import QueueStore
from medagent.types import PUSH_CHANNEL, InboundMessage

log = logging.getLogger(__name__)

T = TypeVar("T")

PAGE_MESSAGES = 500
PAGE_BYTES = 8 * 1024 * 1024
READ_PAUSE = 1.0
"""Seconds before what could not be read is read again."""


async def read_waiting(store: QueueStore, newest: int) -> AsyncIterator[list[InboundMessage]]:
    """The live pushes with a seq up to `newest`, bodies included, a page at a time, in order."""
    # the first of a device's line may be in state `error`: no page has it
    failed = [seq for seq, _ in await _tried(partial(store.retries, PUSH_CHANNEL)) if seq <= newest]
    after = 0
    while after < newest:
        page = await _tried(partial(store.fetch, PUSH_CHANNEL, after, PAGE_MESSAGES, PAGE_BYTES))
        up_to = min(page[-1].seq, newest) if page else newest
        found = [message for message in page if message.seq <= newest]
        due, failed = [seq for seq in failed if seq <= up_to], [seq for seq in failed if seq > up_to]
        for seq in due:
            message = await _tried(partial(store.fetch_one, seq))
            if message is not None:
                found.append(message)
        if found:
            yield sorted(found, key=lambda message: message.seq)
        after = up_to


async def _tried(read: Callable[[], Awaitable[T]]) -> T:
    """Read, however often it takes."""
    while True:
        try:
            return await read()
        # whatever a store raises, the next try may succeed
        except Exception as error:  # noqa: BLE001  as said above
            log.error("the pushes of the last run cannot be read: %s; trying again", type(error).__name__)
            await asyncio.sleep(READ_PAUSE)
