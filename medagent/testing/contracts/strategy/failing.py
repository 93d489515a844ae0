"""What a strategy promises when commits fail, and when its process is killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.config.model import BatchConfig
from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.testing.contracts.killed import killed_child
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.strategy.world import StrategyGround, some

MANY = 3000
"""Messages of a burst."""
ACKNOWLEDGED = 200
"""After so many acknowledgments the child is killed."""


class Failing(StrategyGround):
    """A part of `QueueStrategyContract`."""

    @promise("medagent.queue.base.StrategyContext.commit")
    async def test_a_refused_message_costs_no_other(self, tmp_path: Path) -> None:
        """A message that the store cannot commit is refused to its sender; every other one is committed, in order."""
        async with self.world(tmp_path, BatchConfig(max_batch_size=4, flush_interval_ms=50)) as world:
            world.store.refuse = lambda messages, changes: any(one.control_id == "bad" for one in messages)
            world.accept("m0", "bad", "m1")
            await asyncio.sleep(0)
            world.accept("m2", "m3", "m4")
            await self.flush(world)
            others = [name for name in world.put if name != "bad"]
            expect(world.acknowledged == others, f"acknowledged were {world.acknowledged}, to be acknowledged {others}")
            expect(world.refused == ["bad"], f"refused were {world.refused}, to be refused only 'bad'")

    @promise("medagent.queue.base.StrategyContext.commit")
    async def test_it_goes_on_after_all_commits_have_failed(self, tmp_path: Path) -> None:
        """When the storage refuses everything, nothing is acknowledged; when it works again, what comes then is committed."""
        async with self.world(tmp_path) as world:
            world.store.refuse = lambda messages, changes: True
            for start in range(0, MANY, 100):
                world.accept(*(f"lost{number}" for number in range(start, start + 100)))
            await self.flush(world)
            expect(not world.acknowledged, f"acknowledged without the store: {some(world.acknowledged)}")
            refused = set(world.refused)
            unknown = [name for name in world.put if name not in refused]
            expect(not unknown, f"not refused to their sender: {some(unknown)}")
            expect(world.refused == world.put, f"refused out of order: {some(world.refused)}")
            world.store.refuse = lambda messages, changes: False
            world.accept("m0")
            await self.flush(world)
            expect(world.acknowledged == ["m0"], f"acknowledged were {world.acknowledged}, to be acknowledged ['m0']")

    @promise("docs/batching.md, promise 1")
    async def test_nothing_is_acknowledged_before_it_is_on_disk(self, tmp_path: Path) -> None:
        """No acknowledgment leaves before the commit that covers the message is on disk, whatever the strategy claims."""
        async with self.world(tmp_path) as world:
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
        expect(not lost, f"{len(lost)} of {len(told)} acknowledged messages are not in the queue: {some(lost)}")
        expect(told == [f"m{number}" for number in range(len(told))], f"acknowledged out of order: {some(told)}")
        whole = [f"m{number}" for number in range(len(stored))]
        wrong = next((f"{one} where {other} belongs" for one, other in zip(stored, whole, strict=True) if one != other), "")
        expect(not wrong, f"the queue has {wrong}")
