"""What a strategy promises of `flush`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.config.model import BatchConfig
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.strategy.world import STRATEGY, StrategyGround, exactly_once, missing


class Flushing(StrategyGround):
    """A part of `QueueStrategyContract`."""

    @promise(f"{STRATEGY}.flush")
    async def test_flush_returns_only_when_all_is_committed(self, tmp_path: Path) -> None:
        """`flush` returns when everything put before it is committed, and not before."""
        async with self.world(tmp_path, BatchConfig(max_batch_size=2)) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2", "m3", "m4")
            flush = asyncio.ensure_future(world.strategy.flush())
            await self.until(lambda: world.batches or flush.done(), "neither is anything committed nor has flush() returned")
            await asyncio.sleep(0.01)
            expect(not flush.done(), f"flush() returned while these were not committed: {missing(world)}")
            world.store.gate.set()
            await self.within(flush, lambda: f"flush() has not returned; not committed: {missing(world)}")
            expect(not missing(world), f"flush() returned while these were not committed: {missing(world)}")

    @promise(f"{STRATEGY}.flush")
    async def test_flush_waits_for_the_commit_that_runs(self, tmp_path: Path) -> None:
        """`flush` also waits for messages whose commit has begun when it is called."""
        async with self.world(tmp_path) as world:
            world.store.gate.clear()
            world.accept("m0")
            await self.until(lambda: world.batches, "a lone message was not committed")
            flush = asyncio.ensure_future(world.strategy.flush())
            await asyncio.sleep(0.02)
            expect(not flush.done(), f"flush() returned while these were not committed: {missing(world)}")
            world.store.gate.set()
            await self.within(flush, "flush() has not returned")

    @promise(f"{STRATEGY}.flush")
    async def test_flush_of_nothing_returns(self, tmp_path: Path) -> None:
        """`flush` returns at once when there is nothing to commit, and commits nothing."""
        async with self.world(tmp_path) as world:
            await self.flush(world)
            expect(not world.batches, f"it committed {world.batches}")

    @promise(f"{STRATEGY}.flush")
    async def test_after_a_flush_it_goes_on(self, tmp_path: Path) -> None:
        """`flush` may be called again and again (each reload does): what is put after one is committed like all else."""
        async with self.world(tmp_path) as world:
            for number in range(3):
                world.accept(f"m{number}")
                await self.flush(world)
                await self.flush(world)
                expect(not missing(world), f"flush number {number + 1} returned without: {missing(world)}")
            exactly_once(world)

    @promise(f"{STRATEGY}.flush")
    async def test_flushes_at_the_same_time_all_wait_and_return(self, tmp_path: Path) -> None:
        """Several calls of `flush` may wait at the same time: each returns when all is committed."""
        async with self.world(tmp_path, BatchConfig(max_batch_size=2)) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2", "m3", "m4")
            flushes = [asyncio.ensure_future(world.strategy.flush()) for _ in range(3)]
            await asyncio.sleep(0.01)
            world.store.gate.set()
            for number, flush in enumerate(flushes, 1):
                await self.within(flush, f"flush number {number} of 3 has not returned")
                expect(not missing(world), f"flush number {number} of 3 returned without: {missing(world)}")
            exactly_once(world)

    @promise(f"{STRATEGY}.flush")
    async def test_a_cancelled_flush_loses_nothing(self, tmp_path: Path) -> None:
        """A `flush` that is cancelled (a stop or a reload waits for a time only) loses nothing: a later one commits it."""
        async with self.world(tmp_path, BatchConfig(max_batch_size=2)) as world:
            world.store.gate.clear()
            world.accept("m0", "m1", "m2", "m3", "m4")
            flush = asyncio.ensure_future(world.strategy.flush())
            await asyncio.sleep(0.01)
            flush.cancel()
            await asyncio.wait([flush], timeout=self.patience)
            world.store.gate.set()
            await self.flush(world)
            exactly_once(world)
