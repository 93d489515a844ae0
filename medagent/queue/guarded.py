"""A third party's queue strategy under guard: what it does not commit, the built-in one does.

It keeps account of every message that the strategy has and has not handed to the committer. When the strategy fails, these go
to `batched`, in order, and nothing that it commits later counts: so none is lost, and none committed twice. Those that others
of their channel have overtaken are refused, so that their devices send them again: committed now, they would be out of order.
So are those that the strategy itself commits after newer ones of their channel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from medagent.guard import Guard
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.parts import with_parts
from medagent.tasks import Tasks
from medagent.types import InboundMessage

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds beyond `batchFlushMs` that a strategy may hold its oldest message, while no commit of it runs."""
BUSY_SECONDS = 1.0
"""A commit that has run for longer is waiting for the disk, which is not the strategy's fault."""


class GuardedStrategy:
    """Implements `medagent.queue.base.QueueStrategy`."""

    def __init__(
        self,
        make: Callable[[StrategyContext], QueueStrategy],
        context: StrategyContext,
        *,
        guard: Guard,
        tasks: Tasks,
        refuse: Callable[[InboundMessage], None],
    ) -> None:
        """`make` may raise anything; then the built-in strategy works from the start. `refuse` tells a message's device that
        it was not stored; `tasks` run what the strategy spawns."""
        self.failed = ""
        """Why the built-in strategy works in its place; "" if it does not."""
        self._context = context
        self._guard = guard
        self._fallback = BatchedStrategy(context)
        self._held: dict[InboundMessage, None] = {}
        """Taken by the strategy and not given to the committer yet, in order."""
        self._refuse = refuse
        self._newest: dict[str, int] = {}
        """The highest seq of each channel that it has given to the committer."""
        self._commits: set[asyncio.Task[None]] = set()
        """That run for it, whatever becomes of its own code meanwhile."""
        self._tasks = tasks
        self._busy_since = 0.0
        self._oldest: InboundMessage | None = None
        self._idle = 0.0
        """Seconds for which the oldest message has been the same, without a commit, as far as `look` has seen it."""
        self._over = asyncio.Event()
        """Set when the built-in strategy has taken over."""
        self._flushing = 0
        guard.opened = self._opened
        self._strategy: QueueStrategy = self._fallback
        with suppress(Exception):  # which the guard has counted
            self._strategy = guard.attempt(
                "the making", make, replace(context, commit=self._commit, spawn=guard.spawner(tasks))
            )
            return
        self.give_up(f"it cannot be made: {guard.last_fault}")

    def put(self, messages: Sequence[InboundMessage]) -> None:
        """Never raises."""
        if self.failed:
            self._fallback.put(messages)
            return
        self._held.update(dict.fromkeys(messages))
        try:
            self._guard.attempt("put", self._strategy.put, messages)
        except Exception:  # noqa: BLE001  the guard has counted it
            self.give_up(self._guard.last_fault)

    async def _commit(self, messages: Sequence[InboundMessage]) -> None:
        """What the strategy is given to commit with: it passes on what it holds, and that once."""
        mine: list[InboundMessage] = []
        overtaken: list[InboundMessage] = []
        for message in sorted({message for message in messages if message in self._held}, key=_first_seq):
            del self._held[message]
            (overtaken if self._is_overtaken(message) else mine).append(message)
        for message in mine:
            last = with_parts((message,))[-1]
            self._newest[last.channel] = max(last.seq, self._newest.get(last.channel, 0))
        for message in overtaken:
            self._refuse(message)
        if overtaken:
            self._guard.fault("commit", "it commits out of order")
        elif len(mine) < len(messages) and not self.failed:
            self._guard.fault("commit", "it commits what it does not hold", counts=False)
        if not mine:
            return
        if not self._commits:
            self._busy_since = self._context.clock.monotonic()
        # a task of the core's: cancelled while it waits for its turn, the messages would be nobody's
        commit = self._tasks.spawn(self._committed(mine), "commit for a plugin's strategy")
        self._commits.add(commit)
        commit.add_done_callback(self._commits.discard)
        await asyncio.shield(commit)

    async def _committed(self, messages: Sequence[InboundMessage]) -> None:
        await self._context.commit(messages)

    async def flush(self) -> None:
        """Returns when everything taken so far is committed or refused, by whomever."""
        if not self.failed:
            await self._flush()
        await self._fallback.flush()
        if self._commits:
            await asyncio.wait(self._commits)

    async def _flush(self) -> None:
        self._flushing += 1
        held = list(self._held)
        over = asyncio.ensure_future(self._over.wait())
        flush = asyncio.ensure_future(self._guard.wait("flush", self._strategy.flush))
        try:
            await asyncio.wait((over, flush), return_when=asyncio.FIRST_COMPLETED)
            if flush.done() and not flush.cancelled() and flush.exception() is not None:
                self.give_up(self._guard.last_fault)
            elif flush.done() and any(message in self._held for message in held):
                self._guard.fault("flush", "it leaves messages uncommitted")
                self.give_up(self._guard.last_fault)
        finally:
            self._flushing -= 1
            over.cancel()
            flush.cancel()

    def look(self, seconds: float) -> None:
        """Called every `seconds`: has it stopped committing?"""
        oldest = next(iter(self._held), None)
        waiting_for_disk = self._commits and self._context.clock.monotonic() - self._busy_since > BUSY_SECONDS
        if oldest is not self._oldest or waiting_for_disk or (oldest is None and not self._flushing):
            self._oldest, self._idle = oldest, 0.0
            return
        self._idle += seconds
        if self._idle > PATIENCE + self._context.batch.flush_interval_ms / 1000:
            self._guard.fault("commit", f"it commits nothing for {self._idle:.0f} s")
            self.give_up(self._guard.last_fault)

    def _opened(self) -> None:
        self.give_up(self._guard.last_fault)

    def give_up(self, reason: str) -> None:
        """Have the built-in strategy take over."""
        if self.failed:
            return
        self.failed = reason
        log.error("plugin %s: its queue strategy is replaced by batched until the next reload: %s", self._guard.plugin, reason)
        held, self._held = list(self._held), {}
        self._over.set()
        overtaken = dict.fromkeys(message for message in held if self._is_overtaken(message))
        for message in overtaken:
            self._refuse(message)
        if in_order := [message for message in held if message not in overtaken]:
            self._fallback.put(in_order)

    def _is_overtaken(self, message: InboundMessage) -> bool:
        first = with_parts((message,))[0]
        return first.seq < self._newest.get(first.channel, 0)


def _first_seq(message: InboundMessage) -> int:
    return with_parts((message,))[0].seq
