"""Tests of the strategy `commitDelay` against a commit that only takes notes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from medagent_commit_delay import medagent_make_queue_strategy, medagent_register_settings

from medagent.config.model import BatchConfig
from medagent.config.settings import Registry
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.tasks import Tasks
from medagent.testing.command_line import run_main
from medagent.types import InboundMessage


class World:
    """A strategy, made by the plugin's hook, and what it has committed."""

    def __init__(self, batch_size: int = 100) -> None:
        self.batches: list[list[str]] = []
        self.tasks = Tasks()
        self.committing = asyncio.Event()
        self.disk_works = asyncio.Event()
        self.disk_works.set()
        registry = Registry()
        medagent_register_settings(registry)
        settings = {setting.name: setting.default for setting in registry.settings() if setting.default is not None}
        context = StrategyContext(BatchConfig(max_batch_size=batch_size), self._commit, self.tasks.spawn, settings)
        strategy = medagent_make_queue_strategy("commitDelay", context)
        assert strategy is not None
        self.strategy: QueueStrategy = strategy

    async def _commit(self, messages: Sequence[InboundMessage]) -> None:
        self.batches.append([message.control_id for message in messages])
        self.committing.set()
        await self.disk_works.wait()

    def put(self, *control_ids: str) -> None:
        self.strategy.put([InboundMessage(b"MSH", control_id, "10.0.0.7:41022") for control_id in control_ids])


def test_the_plugin_is_installed() -> None:
    listed = json.loads(run_main("plugins", "--format", "json").stdout)
    assert [plugin["error"] for plugin in listed if plugin["name"] == "commit-delay"] == [""]


async def test_a_lone_message_is_committed_without_delay() -> None:
    world = World()
    world.put("A1")
    async with asyncio.timeout(10):
        await world.strategy.flush()
    assert world.batches == [["A1"]]


async def test_flush_commits_everything_once_and_in_order() -> None:
    world = World(batch_size=3)
    world.put("A1", "A2")
    world.put("A3", "A4", "A5")
    await world.strategy.flush()
    assert [control_id for batch in world.batches for control_id in batch] == ["A1", "A2", "A3", "A4", "A5"]


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
