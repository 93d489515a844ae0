"""When the strategy `immediate` commits."""

from __future__ import annotations

from pathlib import Path

from medagent.queue.immediate import ImmediateStrategy
from medagent.testing.queue import QueueWorld, message


async def test_each_message_has_a_commit_of_its_own(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, strategy=ImmediateStrategy) as world:
        await world.accept(*(message(name) for name in "abcd"))
        assert [messages for messages, _ in world.store.commits] == [["a"], ["b"], ["c"], ["d"]]
