"""The log after a large commit: copied into the file later, and surely."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.queue.base import Receipt
from medagent.queue.buffer import MOST_BYTES
from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.testing.queue import message

LARGE = 4 * MOST_BYTES


class World:
    """A store, and how much of it is in its file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / QUEUE_NAME
        self.store = SqliteStore(self.path)
        self._seq = 0

    async def commit(self, size: int) -> Receipt:
        self._seq += 1
        one = message(f"m{self._seq}", "x" * size)
        one.channel, one.seq, one.callback = "adt", self._seq, f"key-{self._seq}"
        return await self.store.commit([one], [])

    @property
    def large_ones_in_file(self) -> int:
        return self.path.stat().st_size // LARGE


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.store.open()
    yield world
    await world.store.close()


async def test_it_is_not_copied_within_the_commit_but_after_the_next_small_one(world: World) -> None:
    large = await world.commit(LARGE)
    assert (large.afterwards, world.large_ones_in_file) == (None, 0)
    small = await world.commit(1)
    assert world.large_ones_in_file == 0
    assert small.afterwards is not None
    await small.afterwards()
    assert world.large_ones_in_file == 1
    assert (await world.commit(1)).afterwards is None


async def test_the_next_large_one_does_not_make_it_longer(world: World) -> None:
    for count in range(3):
        await world.commit(LARGE)
        assert world.large_ones_in_file == count


async def test_when_nothing_more_comes_it_is_copied_within_a_second_or_so(world: World) -> None:
    await world.commit(LARGE)
    await world.store.maintain()
    assert world.large_ones_in_file == 1


async def test_afterwards_small_commits_are_copied_as_ever(world: World) -> None:
    await world.commit(LARGE)
    await world.store.maintain()
    for _ in range(6):
        assert (await world.commit(MOST_BYTES)).afterwards is None
    assert world.large_ones_in_file == 2


async def test_nothing_is_copied_while_a_backup_holds_the_file(world: World) -> None:
    await world.commit(LARGE)
    token = await world.store.hold("")
    held = world.path.stat().st_size
    await world.commit(LARGE)
    assert (await world.commit(1)).afterwards is None
    await world.store.maintain()
    assert world.path.stat().st_size == held
    assert await world.store.release(token)
