"""`QueueStrategyContract`: what a queue strategy promises, checked between a real intake, committer and store."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import random
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from medagent.config.model import BatchConfig, Value
from medagent.plugins import Plugins
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.testing.contracts.killed import killed_child
from medagent.testing.contracts.promise import Contract, expect, promise
from medagent.testing.doubles import RunningClock
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage

STRATEGY = "medagent.queue.base.QueueStrategy"
LATE = 0.25
"""What a commit may come later than `batchFlushMs`, seconds: machines are slow at times."""
QUICK = 0.01
"""What the quickest of many calls of `put` may take, seconds."""
ACKNOWLEDGED = 200
"""After so many acknowledgments the child is killed."""


class StrategyWorld:
    """A strategy at work, and what it has asked to be committed."""

    def __init__(self, folder: Path, make: Callable[[StrategyContext], QueueStrategy], batch: BatchConfig) -> None:
        self.batches: list[list[str]] = []
        self.running = 0
        """Calls of `StrategyContext.commit` that have not returned."""
        self.most = 0
        """The most that ran at a time."""
        self._make = make
        folder.mkdir(exist_ok=True)
        self.queue = QueueWorld(folder, strategy=self._watched, batch=batch, clock=RunningClock())
        self.store, self.strategy = self.queue.store, self.queue.strategy
        self.put: list[str] = []

    def _watched(self, context: StrategyContext) -> QueueStrategy:
        async def commit(messages: Sequence[InboundMessage]) -> None:
            self.batches.append([one.control_id for one in messages])
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await context.commit(messages)
            finally:
                self.running -= 1

        return self._make(replace(context, commit=commit))

    def accept(self, *control_ids: str) -> None:
        """As one read of a channel."""
        self.put += control_ids
        self.queue.intake.accept("adt", [message(name) for name in control_ids])

    @property
    def acknowledged(self) -> list[str]:
        return [one.control_id for one in self.queue.channel.acknowledged]

    @property
    def refused(self) -> list[str]:
        return [one.control_id for one, _ in self.queue.channel.refusals]

    @property
    def committed(self) -> list[str]:
        """All that it has asked to be committed, in order."""
        return [name for batch in self.batches for name in batch]

    async def on_disk(self) -> list[str]:
        """In the order of the queue."""
        return [one.control_id for one in await self.store.fetch("adt", 0, 100_000, 1 << 30)]


class QueueStrategyContract(Contract):
    """Subclass it, and define `make`; every test is a promise of `medagent.queue.base.QueueStrategy`."""

    settings: ClassVar[Mapping[str, Value]] = {}
    """Values of the strategy's own settings, if they shall differ from their defaults or its plugin is not installed."""

    @abstractmethod
    def make(self, context: StrategyContext) -> QueueStrategy:
        """A new strategy. A child process calls it too, so it needs no fixtures."""

    def make_configured(self, context: StrategyContext) -> QueueStrategy:
        defaults = {one.name: one.default for one in Plugins().registry.settings() if one.default is not None}
        return self.make(replace(context, settings={**defaults, **self.settings}))

    @contextlib.asynccontextmanager
    async def _world(self, folder: Path, batch: BatchConfig | None = None) -> AsyncIterator[StrategyWorld]:
        world = StrategyWorld(folder, self.make_configured, batch or BatchConfig(flush_interval_ms=50))
        async with world.queue:
            yield world

    async def _flush(self, world: StrategyWorld) -> None:
        await self.within(world.strategy.flush(), f"flush() has not returned; not committed: {_missing(world)}")

    @promise(f"{STRATEGY} (the constructor)")
    def test_making_one_does_nothing(self) -> None:
        """A strategy is also made once outside the event loop, to see whether its name is known, and thrown away."""
        calls: list[str] = []

        async def commit(messages: Sequence[InboundMessage]) -> None:
            calls.append("commit")

        # as `StrategyContext.spawn`
        def spawn(coroutine: Coroutine[Any, Any, Any], name: str) -> None:
            coroutine.close()
            calls.append(f"spawn of {name!r}")

        made = self.make_configured(StrategyContext(BatchConfig(), commit, spawn))
        expect(made is not None, "make() returned None")
        expect(not calls, f"the constructor called {', '.join(calls)}")

    @promise(f"{STRATEGY}.put")
    async def test_every_message_is_committed_once_and_in_order(self, tmp_path: Path) -> None:
        """Every message put is committed exactly once, in the order in which they were put."""
        async with self._world(tmp_path) as world:
            for start in range(0, 35, 7):
                world.accept(*(f"m{number}" for number in range(start, start + 7)))
                await asyncio.sleep(0)
            await self._flush(world)
            _exactly_once(world)
            expect(await world.on_disk() == world.put, "the queue does not hold what was put")

    @promise(f"{STRATEGY}.put")
    async def test_under_random_schedules_every_message_is_committed_once_and_in_order(self, tmp_path: Path) -> None:
        """Whenever messages come, commits are slow and flushes happen: each is committed exactly once, in order."""
        for seed in range(12):
            rng = random.Random(seed)  # noqa: S311  chooses what happens, and keeps no secret
            batch = BatchConfig(
                max_batch_size=rng.choice([1, 2, 10, 100]), flush_interval_ms=rng.choice([1, 50]), adaptive=rng.random() < 0.5
            )
            async with self._world(tmp_path / str(seed), batch) as world:
                flushes = await _random_schedule(rng, world)
                world.store.gate.set()
                await self._flush(world)
                for flush in flushes:
                    await self.within(flush, f"a flush() has not returned (seed {seed})")
                _exactly_once(world, f" (seed {seed}, {batch})")

    @promise(f"{STRATEGY}.put")
    async def test_what_comes_while_a_commit_runs_is_committed_after_it(self, tmp_path: Path) -> None:
        """Messages put while a commit runs are committed after it, without another `put` and without `flush`."""
        async with self._world(tmp_path) as world:
            world.store.gate.clear()
            world.accept("m0")
            await self.until(lambda: world.batches, "a lone message was not committed")
            world.accept("m1", "m2")
            await asyncio.sleep(0)
            world.store.gate.set()
            await self.until(lambda: len(world.acknowledged) >= 3, lambda: f"not acknowledged: {_missing(world)}")
            _exactly_once(world)

    @promise(f"{STRATEGY} (one commit at a time)")
    async def test_one_commit_runs_at_a_time(self, tmp_path: Path) -> None:
        """A strategy calls `StrategyContext.commit` again only when the call before has returned."""
        async with self._world(tmp_path, BatchConfig(max_batch_size=2, flush_interval_ms=1)) as world:
            world.store.gate.clear()
            for number in range(6):
                world.accept(f"m{number}")
                await asyncio.sleep(0)
            flushes = [asyncio.ensure_future(world.strategy.flush()) for _ in range(2)]
            await self.until(lambda: world.batches, "nothing was committed")
            await asyncio.sleep(0.01)
            world.store.gate.set()
            for flush in flushes:
                await self.within(flush, "flush() has not returned")
            expect(world.most <= 1, f"{world.most} calls of commit ran at the same time")

    @promise(f"{STRATEGY} (`batchSize`)")
    async def test_no_batch_is_larger_than_batch_size(self, tmp_path: Path) -> None:
        """No commit holds more than `batchSize` messages (`StrategyContext.batch.max_batch_size`)."""
        for size in (1, 3, 10):
            for adaptive in (True, False):
                batch = BatchConfig(max_batch_size=size, flush_interval_ms=1, adaptive=adaptive)
                async with self._world(tmp_path / f"{size}{adaptive}", batch) as world:
                    world.accept(*(f"m{number}" for number in range(25)))
                    await self._flush(world)
                    largest = max(map(len, world.batches), default=0)
                    expect(largest <= size, f"a commit held {largest} messages, and batchSize is {size}")

    @promise(f"{STRATEGY} (`batchFlushMs`)")
    async def test_a_lone_message_does_not_wait_longer_than_batch_flush_ms(self, tmp_path: Path) -> None:
        """A lone message is committed within `batchFlushMs` (`StrategyContext.batch.flush_interval_ms`), without `flush`."""
        for adaptive in (True, False):
            batch = BatchConfig(flush_interval_ms=50, adaptive=adaptive)
            async with self._world(tmp_path / str(adaptive), batch) as world:
                waits = []
                for number in range(3):
                    begun = time.monotonic()
                    world.accept(f"m{number}")
                    await self.until(lambda: world.committed == world.put, "it was not committed")
                    waits.append(time.monotonic() - begun)
                    await self._flush(world)
                expect(min(waits) <= 0.05 + LATE, f"it waited {min(waits) * 1000:.0f} ms at best; batchFlushMs is 50")

    @promise(f"{STRATEGY}.flush")
    async def test_flush_returns_only_when_all_is_committed(self, tmp_path: Path) -> None:
        """`flush` returns when everything put before it is committed, and not before."""
        async with self._world(tmp_path, BatchConfig(max_batch_size=2)) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2", "m3", "m4")
            flush = asyncio.ensure_future(world.strategy.flush())
            await self.until(lambda: world.batches or flush.done(), "neither is anything committed nor has flush() returned")
            await asyncio.sleep(0.01)
            expect(not flush.done(), f"flush() returned while these were not committed: {_missing(world)}")
            world.store.gate.set()
            await self.within(flush, f"flush() has not returned; not committed: {_missing(world)}")
            expect(not _missing(world), f"flush() returned while these were not committed: {_missing(world)}")

    @promise(f"{STRATEGY}.flush")
    async def test_flush_of_nothing_returns(self, tmp_path: Path) -> None:
        """`flush` returns at once when there is nothing to commit, and commits nothing."""
        async with self._world(tmp_path) as world:
            await self._flush(world)
            expect(not world.batches, f"it committed {world.batches}")

    @promise(f"{STRATEGY}.flush")
    async def test_after_a_flush_it_goes_on(self, tmp_path: Path) -> None:
        """`flush` may be called again and again (each reload does): what is put after one is committed like all else."""
        async with self._world(tmp_path) as world:
            for number in range(3):
                world.accept(f"m{number}")
                await self._flush(world)
                await self._flush(world)
                expect(not _missing(world), f"flush number {number + 1} returned without: {_missing(world)}")
            _exactly_once(world)

    @promise(f"{STRATEGY}.flush")
    async def test_flushes_at_the_same_time_all_wait_and_return(self, tmp_path: Path) -> None:
        """Several calls of `flush` may wait at the same time: each returns when all is committed."""
        async with self._world(tmp_path, BatchConfig(max_batch_size=2)) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2", "m3", "m4")
            flushes = [asyncio.ensure_future(world.strategy.flush()) for _ in range(3)]
            await asyncio.sleep(0.01)
            world.store.gate.set()
            for number, flush in enumerate(flushes, 1):
                await self.within(flush, f"flush number {number} of 3 has not returned")
                expect(not _missing(world), f"flush number {number} of 3 returned without: {_missing(world)}")
            _exactly_once(world)

    @promise(f"{STRATEGY}.flush")
    async def test_a_cancelled_flush_loses_nothing(self, tmp_path: Path) -> None:
        """A `flush` that is cancelled (a stop or a reload waits for a time only) loses nothing: a later one commits it."""
        async with self._world(tmp_path, BatchConfig(max_batch_size=2)) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2", "m3", "m4")
            flush = asyncio.ensure_future(world.strategy.flush())
            await asyncio.sleep(0.01)
            flush.cancel()
            await asyncio.wait([flush], timeout=self.patience)
            world.store.gate.set()
            await self._flush(world)
            _exactly_once(world)

    @promise(f"{STRATEGY}.put")
    async def test_put_does_not_block(self, tmp_path: Path) -> None:
        """`put` is a plain function that returns at once, also while a commit does not end."""
        async with self._world(tmp_path) as world:
            world.store.gate.clear()
            took = []
            for number in range(20):
                begun = time.monotonic()
                # what it is said to return is what is checked
                returned: object = world.strategy.put([message(f"m{number}")])  # type: ignore[func-returns-value]
                took.append(time.monotonic() - begun)
                if inspect.iscoroutine(returned):
                    returned.close()
                expect(not inspect.isawaitable(returned), "it is a coroutine function, and the core does not await it")
                await asyncio.sleep(0)
            expect(min(took) < QUICK, f"each call took {min(took) * 1000:.0f} ms or more")
            world.store.gate.set()

    @promise(f"{STRATEGY}.put")
    async def test_put_of_nothing_is_nothing(self, tmp_path: Path) -> None:
        """`put([])` is allowed, and commits nothing."""
        async with self._world(tmp_path) as world:
            world.strategy.put([])
            await self._flush(world)
            expect(not world.committed, f"it committed {world.committed}")
            world.accept("m0")
            await self._flush(world)
            _exactly_once(world)

    @promise("medagent.queue.base.StrategyContext.commit")
    async def test_a_refused_message_costs_no_other(self, tmp_path: Path) -> None:
        """A message that the store cannot commit is refused to its sender; every other one is committed, in order."""
        async with self._world(tmp_path, BatchConfig(max_batch_size=4, flush_interval_ms=50)) as world:
            world.store.refuse = lambda messages, changes: any(one.control_id == "bad" for one in messages)
            world.accept("m0", "bad", "m1")
            await asyncio.sleep(0)
            world.accept("m2", "m3", "m4")
            await self._flush(world)
            others = [name for name in world.put if name != "bad"]
            expect(world.acknowledged == others, f"acknowledged were {world.acknowledged}, to be acknowledged {others}")
            expect(world.refused == ["bad"], f"refused were {world.refused}, to be refused only 'bad'")

    @promise("medagent.queue.base.StrategyContext.commit")
    async def test_it_goes_on_after_all_commits_have_failed(self, tmp_path: Path) -> None:
        """When the storage refuses everything, nothing is acknowledged; when it works again, what comes then is committed."""
        async with self._world(tmp_path) as world:
            world.store.refuse = lambda messages, changes: True
            world.accept(*(f"lost{number}" for number in range(12)))
            await self._flush(world)
            expect(not world.acknowledged, f"acknowledged without the store: {world.acknowledged}")
            expect(world.refused == world.put, f"not refused to their sender: {[*set(world.put) - set(world.refused)]}")
            world.store.refuse = lambda messages, changes: False
            world.accept("m0")
            await self._flush(world)
            expect(world.acknowledged == ["m0"], f"acknowledged were {world.acknowledged}, to be acknowledged ['m0']")

    @promise("docs/batching.md, promise 1")
    async def test_nothing_is_acknowledged_before_it_is_on_disk(self, tmp_path: Path) -> None:
        """No acknowledgment leaves before the commit that covers the message is on disk, whatever the strategy claims."""
        async with self._world(tmp_path) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2")
            flush = asyncio.ensure_future(world.strategy.flush())
            await asyncio.sleep(0.1)
            expect(not world.acknowledged, f"acknowledged while no commit had ended: {world.acknowledged}")
            world.store.gate.set()
            await asyncio.wait([flush], timeout=self.patience)
            flush.cancel()
            stored = await world.on_disk()
            expect(set(world.acknowledged) <= set(stored), f"acknowledged {world.acknowledged}, on disk {stored}")

    @promise("docs/batching.md, promises 1 and 4")
    async def test_killed_under_load_it_has_lost_nothing_acknowledged(self, tmp_path: Path) -> None:
        """When the process is killed (SIGKILL) under load, every acknowledged message is on disk, and all are in order."""
        told = await killed_child(self, "strategy", tmp_path, ACKNOWLEDGED)
        store = SqliteStore(tmp_path / QUEUE_NAME)
        await store.open()
        try:
            stored = [one.control_id for one in await store.fetch("adt", 0, 1_000_000, 1 << 30)]
        finally:
            await store.close()
        lost = [name for name in told if name not in set(stored)]
        expect(not lost, f"{len(lost)} of {len(told)} acknowledged messages are not in the queue: {_some(lost)}")
        expect(told == [f"m{number}" for number in range(len(told))], f"acknowledged out of order: {_some(told)}")
        whole = [f"m{number}" for number in range(len(stored))]
        wrong = next((f"{one} where {other} belongs" for one, other in zip(stored, whole, strict=True) if one != other), "")
        expect(not wrong, f"the queue has {wrong}")


async def _random_schedule(rng: random.Random, world: StrategyWorld) -> list[asyncio.Task[None]]:
    """Messages, pauses, slow commits and flushes; returns the flushes."""
    flushes = []
    for _ in range(rng.randrange(10, 60)):
        step = rng.random()
        if step < 0.5:
            begin = len(world.put)
            world.accept(*(f"m{number}" for number in range(begin, begin + rng.randrange(8))))
        elif step < 0.6:
            flushes.append(asyncio.ensure_future(world.strategy.flush()))
        elif step < 0.75:
            (world.store.gate.clear if rng.random() < 0.5 else world.store.gate.set)()
        elif step < 0.8:
            await asyncio.sleep(0.002)
        else:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
    return flushes


def _missing(world: StrategyWorld) -> str:
    done = {*world.acknowledged, *world.refused}
    return _some([name for name in world.put if name not in done])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _exactly_once(world: StrategyWorld, note: str = "") -> None:
    committed = world.committed
    dropped = [name for name in world.put if name not in committed]
    expect(not dropped, f"never committed: {_some(dropped)}{note}")
    doubled = sorted({name for name in committed if committed.count(name) > 1})
    expect(not doubled, f"committed more than once: {_some(doubled)}{note}")
    expect(committed == world.put, f"put in the order {_some(world.put)}, committed in the order {_some(committed)}{note}")
    expect(world.acknowledged == world.put, f"not acknowledged in order: {_some(world.acknowledged)}{note}")
