"""What every queue strategy promises, and what `commitDelay` adds to it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from medagent.config.model import BatchConfig
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.tasks import Tasks
from medagent.testing.contracts.strategy import QueueStrategyContract
from medagent.types import InboundMessage
from medagent_commit_delay.plugin import NAME, medagent_make_queue_strategy


def make(context: StrategyContext) -> QueueStrategy:
    strategy = medagent_make_queue_strategy(NAME, context)
    assert strategy is not None
    return strategy


class TestCommitDelay(QueueStrategyContract):
    def make(self, context: StrategyContext) -> QueueStrategy:
        return make(context)


class World:
    """A strategy, and what it has committed on a disk that may be busy."""

    def __init__(self, batch_size: int = 100) -> None:
        self.batches: list[list[str]] = []
        self.tasks = Tasks()
        self.committing = asyncio.Event()
        self.disk_works = asyncio.Event()
        self.disk_works.set()
        batch = BatchConfig(max_batch_size=batch_size)
        settings = {"commitDelayMs": 2}
        self.strategy = make(StrategyContext(batch, self._commit, self.tasks.spawn, settings))

    async def _commit(self, messages: Sequence[InboundMessage]) -> None:
        self.batches.append([message.control_id for message in messages])
        self.committing.set()
        await self.disk_works.wait()

    def put(self, *control_ids: str) -> None:
        messages = [InboundMessage(b"any", each, "10.0.0.7:41022") for each in control_ids]
        self.strategy.put(messages)


@pytest.mark.parametrize("batch_size", [1, 3])
async def test_no_batch_is_larger_than_batch_size(batch_size: int) -> None:
    world = World(batch_size=batch_size)
    world.put(*(f"A{number}" for number in range(10)))
    await world.strategy.flush()
    assert max(len(batch) for batch in world.batches) == batch_size


async def test_messages_that_come_during_a_commit_share_the_next() -> None:
    world = World()
    world.disk_works.clear()
    world.put("A1", "A2")
    await world.committing.wait()
    world.put("A3")
    world.put("A4")
    world.disk_works.set()
    await world.strategy.flush()
    assert world.batches == [["A1", "A2"], ["A3", "A4"]]
