"""What a strategy promises of each message that it is given, and of its commits."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from medagent.config.model import BatchConfig
from medagent.queue.base import StrategyContext
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.strategy.world import STRATEGY, StrategyGround, StrategyWorld, exactly_once, missing
from medagent.testing.queue import message
from medagent.types import InboundMessage

LATE = 0.25
"""What a commit may come later than `batchFlushMs`, seconds: machines are slow at times."""
QUICK = 0.01
"""What the quickest of many calls of `put` may take, seconds."""


class Committing(StrategyGround):
    """A part of `QueueStrategyContract`."""

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
        async with self.world(tmp_path) as world:
            for start in range(0, 35, 7):
                world.accept(*(f"m{number}" for number in range(start, start + 7)))
                await asyncio.sleep(0)
            await self.flush(world)
            exactly_once(world)
            expect(await world.on_disk() == world.put, "the queue does not hold what was put")

    @promise(f"{STRATEGY}.put")
    async def test_under_random_schedules_every_message_is_committed_once_and_in_order(self, tmp_path: Path) -> None:
        """Whenever messages come, commits are slow and flushes happen: each is committed exactly once, in order."""
        for seed in range(12):
            rng = random.Random(seed)  # noqa: S311  chooses what happens, and keeps no secret
            batch = BatchConfig(
                max_batch_size=rng.choice([1, 2, 10, 100]), flush_interval_ms=rng.choice([1, 50]), adaptive=rng.random() < 0.5
            )
            async with self.world(tmp_path / str(seed), batch) as world:
                flushes = await _random_schedule(rng, world)
                world.store.gate.set()
                await self.flush(world)
                for flush in flushes:
                    await self.within(flush, f"a flush() has not returned (seed {seed})")
                exactly_once(world, f" (seed {seed}, {batch})")

    @promise(f"{STRATEGY}.put")
    async def test_what_comes_while_a_commit_runs_is_committed_after_it(self, tmp_path: Path) -> None:
        """Messages put while a commit runs are committed after it, without another `put` and without `flush`."""
        async with self.world(tmp_path) as world:
            world.store.gate.clear()
            world.accept("m0")
            await self.until(lambda: world.batches, "a lone message was not committed")
            world.accept("m1", "m2")
            await asyncio.sleep(0)
            world.store.gate.set()
            await self.until(lambda: len(world.acknowledged) >= 3, lambda: f"not acknowledged: {missing(world)}")
            exactly_once(world)

    @promise(f"{STRATEGY} (one commit at a time)")
    async def test_one_commit_runs_at_a_time(self, tmp_path: Path) -> None:
        """A strategy calls `StrategyContext.commit` again only when the call before has returned."""
        async with self.world(tmp_path, BatchConfig(max_batch_size=2, flush_interval_ms=1)) as world:
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
        for size in (1, 10):
            for adaptive in (True, False):
                batch = BatchConfig(max_batch_size=size, flush_interval_ms=1, adaptive=adaptive)
                async with self.world(tmp_path / f"{size}{adaptive}", batch) as world:
                    world.accept(*(f"m{number}" for number in range(12)))
                    await self.flush(world)
                    largest = max(map(len, world.batches), default=0)
                    expect(largest <= size, f"a commit held {largest} messages, and batchSize is {size}")

    @promise(f"{STRATEGY} (`batchFlushMs`)")
    async def test_a_lone_message_does_not_wait_longer_than_batch_flush_ms(self, tmp_path: Path) -> None:
        """A lone message is committed within `batchFlushMs` (`StrategyContext.batch.flush_interval_ms`), without `flush`."""
        for adaptive in (True, False):
            batch = BatchConfig(flush_interval_ms=50, adaptive=adaptive)
            async with self.world(tmp_path / str(adaptive), batch) as world:
                waits = []
                for number in range(3):
                    begun = time.monotonic()
                    world.accept(f"m{number}")
                    await self.until(lambda: len(world.committed) >= len(world.put), "it was not committed")
                    waits.append(time.monotonic() - begun)
                    await self.flush(world)
                expect(min(waits) <= 0.05 + LATE, f"it waited {min(waits) * 1000:.0f} ms at best; batchFlushMs is 50")

    @promise(f"{STRATEGY}.put")
    async def test_put_does_not_block(self, tmp_path: Path) -> None:
        """`put` is a plain function that returns at once, also while a commit does not end."""
        async with self.world(tmp_path) as world:
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
    async def test_every_message_counts_whatever_it_holds(self, tmp_path: Path) -> None:
        """Every message put is committed: a copy, one without a control ID, one without a body, a long one."""
        long, note = message("long", "x" * 900_000), message("note")
        note.body = None
        messages = [message("m0"), message("m0"), message("m0", "other"), message(""), message(""), note, long, message("m1")]
        put = [one.control_id for one in messages]
        async with self.world(tmp_path) as world:
            for one in messages:
                world.queue.intake.accept("adt", [one])
            await self.flush(world)
            expect(world.committed == put, f"put were {put}, committed were {world.committed}")

    @promise(f"{STRATEGY}.put")
    async def test_put_of_nothing_is_nothing(self, tmp_path: Path) -> None:
        """`put([])` is allowed, and commits nothing."""
        async with self.world(tmp_path) as world:
            world.strategy.put([])
            await self.flush(world)
            expect(not world.batches, f"it committed {world.batches}")
            world.accept("m0")
            await self.flush(world)
            exactly_once(world)


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
