"""Strategies that each break a promise, for test_suites_can_fail.py to run pytest on; `fails` is what must fail."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar

from medagent.queue.base import StrategyContext
from medagent.testing.contracts.strategy import QueueStrategyContract
from medagent.testing.doubles import RecordingChannel
from medagent.types import InboundMessage

ORDER = {"every_message_is_committed_once_and_in_order"}
RANDOM = {"under_random_schedules_every_message_is_committed_once_and_in_order"}
KILLED = {"killed_under_load_it_has_lost_nothing_acknowledged"}
ALONE = {"a_lone_message_does_not_wait_longer_than_batch_flush_ms"}
MEANWHILE = {"what_comes_while_a_commit_runs_is_committed_after_it"}
TOGETHER = {"flushes_at_the_same_time_all_wait_and_return"}
FLUSHED = {"flush_returns_only_when_all_is_committed"} | TOGETHER
AGAIN = {"after_a_flush_it_goes_on"}
CANCELLED = {"a_cancelled_flush_loses_nothing"}
NOTHING = {"flush_of_nothing_returns"}
EMPTY = {"put_of_nothing_is_nothing"}
REFUSED = {"a_refused_message_costs_no_other"}
FAILED = {"it_goes_on_after_all_commits_have_failed"}
BEFORE_DISK = {"nothing_is_acknowledged_before_it_is_on_disk"}
PUT = {"put_does_not_block"}
MADE = {"making_one_does_nothing"}
SIZE = {"no_batch_is_larger_than_batch_size"}
ONE = {"one_commit_runs_at_a_time"}
EVERY = {"every_message_counts_whatever_it_holds"}
RUNNING = {"flush_waits_for_the_commit_that_runs"}

LONGEST = KILLED | RANDOM | BEFORE_DISK


class Sound:
    """Keeps every promise; the others are this one with a fault."""

    def __init__(self, context: StrategyContext) -> None:
        self.context = context
        self.buffer: deque[InboundMessage] = deque()
        self.running = False
        self.idle = asyncio.Event()
        self.idle.set()

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self.buffer.extend(messages)
        if self.buffer:
            self.start()

    def start(self) -> None:
        if not self.running:
            self.running = True
            self.idle.clear()
            self.context.spawn(self.drain(), "commits")

    async def drain(self) -> None:
        while self.buffer:
            count = min(self.context.batch.max_batch_size, len(self.buffer))
            await self.commit([self.buffer.popleft() for _ in range(count)])
        self.running = False
        self.idle.set()

    async def commit(self, messages: list[InboundMessage]) -> None:
        await self.context.commit(messages)

    async def flush(self) -> None:
        await self.idle.wait()


class Whole(QueueStrategyContract):
    patience = float(os.environ.get("PATIENCE", "0.4"))
    strategy: ClassVar[Any]  # the classes of this file
    fails: ClassVar[set[str]]

    def make(self, context: StrategyContext) -> Any:
        return self.strategy(context)


class Suite(Whole):
    """The tests that take longest are for those that must fail in them."""

    def __init_subclass__(cls) -> None:
        for test in LONGEST - cls.fails:
            setattr(cls, f"test_{test}", None)


class TestSound(Whole):
    strategy = Sound
    fails: ClassVar[set[str]] = set()


class TestDrops(Suite):
    class strategy(Sound):  # noqa: N801
        async def commit(self, messages: list[InboundMessage]) -> None:
            if len(messages) > 1:
                messages = messages[:-1]
            await self.context.commit(messages)

    fails = ORDER | RANDOM | KILLED | MEANWHILE | FLUSHED | CANCELLED | REFUSED | FAILED | EVERY


class TestReorders(Suite):
    class strategy(Sound):  # noqa: N801
        async def commit(self, messages: list[InboundMessage]) -> None:
            await self.context.commit(messages[::-1])

    fails = ORDER | RANDOM | KILLED | MEANWHILE | TOGETHER | CANCELLED | REFUSED | FAILED | EVERY


class TestDoubles(Suite):
    class strategy(Sound):  # noqa: N801
        async def commit(self, messages: list[InboundMessage]) -> None:
            await self.context.commit(messages)
            await self.context.commit(messages)

    fails = ORDER | MEANWHILE | TOGETHER | AGAIN | CANCELLED | EMPTY | EVERY


class TestLies(Suite):
    """Says that all is committed, and commits nothing."""

    class strategy(Sound):  # noqa: N801
        async def commit(self, messages: list[InboundMessage]) -> None:
            await asyncio.sleep(0)

    fails = ORDER | MEANWHILE | FLUSHED | AGAIN | CANCELLED | EMPTY | REFUSED | FAILED | ALONE | ONE | EVERY | RUNNING


class TestForgetsFlush(Suite):
    class strategy(Sound):  # noqa: N801
        async def flush(self) -> None: ...

    fails = ORDER | FLUSHED | AGAIN | CANCELLED | EMPTY | REFUSED | FAILED | EVERY | RUNNING


class TestFlushNeverReturns(Suite):
    class strategy(Sound):  # noqa: N801
        async def flush(self) -> None:
            await asyncio.Event().wait()

    fails = ORDER | FLUSHED | AGAIN | CANCELLED | EMPTY | REFUSED | FAILED | NOTHING | ALONE | ONE | SIZE | EVERY | RUNNING


class TestServesOneFlush(Suite):
    """A second one that waits at the same time is forgotten."""

    class strategy(Sound):  # noqa: N801
        waiter: asyncio.Future[None] | None = None

        async def drain(self) -> None:
            await super().drain()
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)

        async def flush(self) -> None:
            if self.running:
                self.waiter = asyncio.get_running_loop().create_future()
                await self.waiter

    fails = TOGETHER | ONE


class TestLosesWhatACancelledFlushHolds(Suite):
    class strategy(Sound):  # noqa: N801
        async def flush(self) -> None:
            held, self.buffer = list(self.buffer), deque()
            await self.idle.wait()
            for message in held:
                await self.context.commit([message])
            await super().flush()

    fails = CANCELLED


class TestCommitsOnlyWhenFlushed(Suite):
    class strategy(Sound):  # noqa: N801
        def put(self, messages: Sequence[InboundMessage]) -> None:
            self.buffer.extend(messages)

        async def flush(self) -> None:
            if self.buffer:
                self.start()
            await super().flush()

    fails = MEANWHILE | ALONE | RUNNING


class TestLeavesTheRest(Suite):
    """What comes while a commit runs waits for the next `put`."""

    class strategy(Sound):  # noqa: N801
        async def drain(self) -> None:
            count = min(self.context.batch.max_batch_size, len(self.buffer))
            await self.context.commit([self.buffer.popleft() for _ in range(count)])
            self.running = False
            self.idle.set()

        async def flush(self) -> None:
            while self.running or self.buffer:
                self.start()
                await self.idle.wait()

    fails = MEANWHILE


class TestCommitsAtTheSameTime(Suite):
    class strategy(Sound):  # noqa: N801
        def __init__(self, context: StrategyContext) -> None:
            super().__init__(context)
            self.tasks: set[Any] = set()

        def put(self, messages: Sequence[InboundMessage]) -> None:
            for message in messages:
                self.tasks.add(self.context.spawn(self.commit([message]), "a commit"))

        async def flush(self) -> None:
            if self.tasks:
                await asyncio.wait(self.tasks)

    fails = ONE


class TestHasNoLimit(Suite):
    class strategy(Sound):  # noqa: N801
        async def drain(self) -> None:
            while self.buffer:
                messages, self.buffer = list(self.buffer), deque()
                await self.context.commit(messages)
            self.running = False
            self.idle.set()

    fails = SIZE


class TestTakesItsTime(Suite):
    class strategy(Sound):  # noqa: N801
        async def drain(self) -> None:
            if self.context.batch.flush_interval_ms == 50 and len(self.buffer) == 1:
                await asyncio.sleep(0.35)
            await super().drain()

    fails = ALONE


class TestBlocks(Suite):
    class strategy(Sound):  # noqa: N801
        def put(self, messages: Sequence[InboundMessage]) -> None:
            time.sleep(0.012)
            super().put(messages)

    fails = PUT


class TestNeverReturnsFromPut(Suite):
    """Unless the message comes by way of the intake: one test is enough."""

    class strategy(Sound):  # noqa: N801
        def put(self, messages: Sequence[InboundMessage]) -> None:
            if messages and not messages[0].seq:
                time.sleep(3600)
            super().put(messages)

    fails = PUT


class TestPutIsACoroutine(Suite):
    class strategy(Sound):  # noqa: N801
        async def put(self, messages: Sequence[InboundMessage]) -> None:  # type: ignore[override]
            super().put(messages)

    fails = ORDER | MEANWHILE | FLUSHED | AGAIN | CANCELLED | EMPTY | REFUSED | FAILED | ALONE | ONE | PUT | EVERY | RUNNING


class TestCommitsNothing(Suite):
    """An empty `put` leads to an empty commit."""

    class strategy(Sound):  # noqa: N801
        def put(self, messages: Sequence[InboundMessage]) -> None:
            if not messages:
                raise IndexError
            super().put(messages)

    fails = EMPTY


class TestAcknowledgesByItself(Suite):
    """What no strategy is given the means to do: it looks for the channel in the memory of the process."""

    class strategy(Sound):  # noqa: N801
        def put(self, messages: Sequence[InboundMessage]) -> None:
            for channel in gc.get_objects():
                if type(channel) is RecordingChannel and messages:
                    channel.committed(messages)
            super().put(messages)

    fails = BEFORE_DISK | ORDER | MEANWHILE | TOGETHER | AGAIN | CANCELLED | EMPTY | REFUSED | FAILED


class TestNeedsALoop(Suite):
    class strategy(Sound):  # noqa: N801
        def __init__(self, context: StrategyContext) -> None:
            super().__init__(context)
            self.loop = asyncio.get_running_loop()

    fails = MADE


class TestStartsWhenMade(Suite):
    class strategy(Sound):  # noqa: N801
        def __init__(self, context: StrategyContext) -> None:
            super().__init__(context)
            context.spawn(asyncio.sleep(0), "a start")

    fails = MADE


class TestOverlooksTheLastCommit(Suite):
    """A flush has nothing to wait for when all that is left is being committed."""

    class strategy(Sound):  # noqa: N801
        async def flush(self) -> None:
            if self.buffer:
                await super().flush()

    fails = RUNNING


class TestKeepsOneOfAName(Suite):
    class strategy(Sound):  # noqa: N801
        def put(self, messages: Sequence[InboundMessage]) -> None:
            known = {one.control_id for one in self.buffer}
            super().put([one for one in messages if one.control_id not in known])

    fails = EVERY


class TestForgetsWhatIsTooMuch(Suite):
    class strategy(Sound):  # noqa: N801
        def __init__(self, context: StrategyContext) -> None:
            super().__init__(context)
            self.buffer = deque(maxlen=1000)

    fails = FAILED
