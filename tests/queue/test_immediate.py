"""When the strategy `immediate` commits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from medagent.config.model import BatchConfig
from medagent.queue.base import StrategyContext
from medagent.queue.immediate import ImmediateStrategy
from medagent.tasks import Tasks
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage


async def test_each_message_has_a_commit_of_its_own(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, strategy=ImmediateStrategy) as world:
        await world.accept(*(message(name) for name in "abcd"))
        assert [messages for messages, _ in world.store.commits] == [["a"], ["b"], ["c"], ["d"]]


async def test_flush_waits_for_what_comes_as_the_last_commit_ends() -> None:
    committed: list[str] = []

    async def commit(messages: Sequence[InboundMessage]) -> None:
        await asyncio.sleep(0)
        committed.extend(one.control_id for one in messages)
        if committed == ["a"]:
            asyncio.get_running_loop().call_soon(strategy.put, [message("b")])

    strategy = ImmediateStrategy(StrategyContext(BatchConfig(), commit, Tasks().spawn))
    strategy.put([message("a")])
    await strategy.flush()
    assert committed == ["a", "b"]
