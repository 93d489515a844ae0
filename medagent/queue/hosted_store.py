"""A plugin's store under guard: whatever goes wrong in it is a `QueueError`, and a call that does not end is told.

No call is given up after a time: the store may still be writing, and nobody knows what.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from medagent.errors import QueueError
from medagent.guard import Guard
from medagent.queue.base import Change, ChannelDepth, QueueStore, Receipt, Removal, Removed
from medagent.queue.intake import STORAGE_REFUSAL
from medagent.types import InboundMessage

T = TypeVar("T")

LONG_SECONDS = 10.0
"""A call that takes longer is told in the status."""


class HostedStore:
    """Implements `medagent.queue.base.QueueStore`."""

    def __init__(self, store: QueueStore, guard: Guard) -> None:
        self._store = store
        self._guard = guard
        self._running: dict[object, tuple[str, float]] = {}
        """Calls that have not ended: name and monotonic time of their begin."""

    async def _call(self, what: str, kind: type, function: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        call = object()
        self._running[call] = what, time.monotonic()
        try:
            result: T = await self._guard.wait(what, function, *arguments, expected=(QueueError,), regardless=True)
            if not isinstance(result, kind):
                self._guard.fault(what, f"it gives no {kind.__name__}", counts=False)
                raise QueueError(f"the store gives no {kind.__name__} in {what}")
            return result
        except QueueError:
            raise
        except Exception as error:
            raise QueueError(f"the store failed in {what}: {type(error).__name__}") from error
        finally:
            del self._running[call]

    @property
    def damage(self) -> str:
        return self._guard.call("damage", lambda: str(self._store.damage), otherwise="")

    @damage.setter
    def damage(self, why: str) -> None:
        self._store.damage = why

    async def open(self) -> int:
        return await self._call("open", int, self._store.open)

    async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        receipt: Receipt = await self._call("commit", Receipt, self._store.commit, messages, changes)
        if receipt.afterwards is not None:
            receipt = replace(receipt, afterwards=partial(self._afterwards, receipt.afterwards))
        given = set(messages)
        named = [*receipt.committed, *receipt.noted, *receipt.rejected, *(message for message, _ in receipt.refused)]
        named += [duplicate.message for duplicate in receipt.duplicates]
        if len(named) == len(given) and given.issuperset(named):
            return receipt
        # others would be acknowledged and sent twice; and who hears nothing of a message waits for ever
        self._guard.fault("commit", "its receipt names other messages than it was given", counts=False)
        left_out = given.difference(named)
        return replace(
            receipt,
            committed=[message for message in dict.fromkeys(receipt.committed) if message in given],
            noted=[message for message in receipt.noted if message in given],
            rejected=[message for message in receipt.rejected if message in given],
            reused=[message for message in receipt.reused if message in given],
            duplicates=[duplicate for duplicate in receipt.duplicates if duplicate.message in given],
            refused=[
                *((message, refusal) for message, refusal in receipt.refused if message in given),
                *((message, STORAGE_REFUSAL) for message in messages if message in left_out),
            ],
        )

    async def _afterwards(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with suppress(QueueError):
            await self._call("commit", object, work)

    async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
        return await self._call("fetch", list, self._store.fetch, channel, after, limit, max_bytes)

    async def fetch_one(self, seq: int) -> InboundMessage | None:
        return await self._call("fetch_one", object, self._store.fetch_one, seq)

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        return await self._call("retries", list, self._store.retries, channel)

    async def registers(self) -> dict[str, dict[str, int]]:
        return await self._call("registers", dict, self._store.registers)

    async def depths(self) -> dict[str, ChannelDepth]:
        return await self._call("depths", dict, self._store.depths)

    def given_up(self) -> list[InboundMessage]:
        return self._guard.call("given_up", lambda: list(self._store.given_up()), otherwise=[])

    async def maintain(self) -> None:
        """Never raises."""
        try:
            await self._call("maintain", object, self._store.maintain)
        except QueueError:
            return

    async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
        return await self._call("remove_ended", Removed, self._store.remove_ended, removal, after, limit)

    async def used_bytes(self) -> int:
        return await self._call("used_bytes", int, self._store.used_bytes)

    async def give_back(self) -> bool:
        return await self._call("give_back", bool, self._store.give_back)

    def reasons(self) -> list[str]:
        now = time.monotonic()
        long = [
            f"the store has been at {what} for {now - since:.0f} s"
            for what, since in self._running.values()
            if now - since >= LONG_SECONDS
        ]
        return long + self._guard.call(
            "reasons", lambda: [str(reason) for reason in self._store.reasons()], otherwise=["the store cannot tell how it is"]
        )

    async def close(self) -> None:
        await self._call("close", object, self._store.close)
