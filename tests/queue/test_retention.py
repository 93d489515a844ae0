"""What is deleted, and what never is."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.config.model import RetentionConfig
from medagent.queue.base import Change
from medagent.queue.retention import DAY, HOLD, Retention
from medagent.queue.sqlite.counting import read_depths
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.doubles import Clock
from medagent.testing.queue import message
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.types import InboundMessage, State

HOUR = 3600.0


class World:
    """A queue whose time is the test's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue.db"
        self.clock = Clock()
        self.store = SqliteStore(self.path, clock=self.clock)
        self.seq = 0
        self.retention = self.configured()

    def configured(self, **config: int) -> Retention:
        self.retention = Retention(self.store, RetentionConfig(**config), self.clock)
        return self.retention

    async def put(self, state: State, size: int = 100) -> int:
        """A message that ends now in this state."""
        self.seq += 1
        made = message(f"m{self.seq}", "x" * size)
        made.seq, made.channel, made.callback, made.accepted_at = self.seq, "adt", f"key-{self.seq}", self.clock.time()
        await self.store.commit([made], [])
        if state is not State.RECEIVED:
            await self.store.commit([], [Change(made, state)])
        return made.seq

    async def later(self, seconds: float, *, wall: float | None = None) -> None:
        """Let time pass, in hours so that no step is a jump; the wall clock may go its own way."""
        self.clock.now += seconds
        if wall is not None:
            self.clock.epoch += wall - seconds
        await self.retention.tick()

    async def kept(self) -> list[int]:
        return [found.seq for found in await self.rows()]

    async def rows(self) -> list[InboundMessage]:
        return [found for seq in range(1, self.seq + 1) if (found := await self.row(seq))]

    async def row(self, seq: int) -> InboundMessage | None:
        found = InboundMessage(b"", "", "", seq=seq)
        # a change of a row that is not there changes nothing: the file tells
        return found if seq in await self.store._file.run(_seqs) else None


def _seqs(connection) -> set[int]:
    return {seq for (seq,) in connection.execute("SELECT seq FROM message")}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.store.open()
    yield made
    with contextlib.suppress(Exception):
        await made.store.close()


async def test_by_age(world: World) -> None:
    live = [await world.put(state) for state in State if not state.ended]
    errored = [await world.put(state) for state in (State.REJECTED, State.DEAD_LETTER)]
    well = [await world.put(state) for state in (State.PROCESSED, State.RESPONSE_SENT, State.RESPONSE_UNDELIVERED)]
    newest = await world.put(State.PROCESSED)
    await world.later(7 * DAY - HOUR)
    assert await world.kept() == [*live, *errored, *well, newest]
    await world.later(2 * HOUR)
    assert await world.kept() == [*live, *errored, newest], "the newest keeps the highest seq"
    await world.later(84 * DAY)
    assert await world.kept() == [*live, newest]
    await world.store.close()
    assert counters_agree(world.path)
    assert read_depths(world.path)["adt"].removed == 5
    assert [row.body for row in read_messages(world.path)] == [b"x" * 100] * 5


async def test_a_sweep_comes_only_so_often(world: World) -> None:
    world.configured(days=1, sweep_interval_secs=7200)
    await world.put(State.PROCESSED)
    await world.put(State.PROCESSED)
    await world.later(DAY - HOUR)
    await world.later(HOUR + 60)
    assert await world.kept() == [1, 2], "the last sweep was an hour ago"
    await world.later(HOUR)
    assert await world.kept() == [2]


@pytest.mark.parametrize("jump", [3650 * DAY, 8 * DAY, -3650 * DAY, -2 * DAY])
async def test_a_clock_that_jumps_deletes_nothing_young(world: World, jump: float, caplog: pytest.LogCaptureFixture) -> None:
    await world.put(State.PROCESSED)
    await world.put(State.PROCESSED)
    await world.later(1.0, wall=1.0 + jump)
    assert "the clock has jumped" in caplog.text
    for _ in range(int(HOLD / 600) - 1):
        await world.later(600.0)
        assert await world.kept() == [1, 2]
    await world.later(60.0, wall=60.0 - jump)  # somebody has set it right
    await world.later(2 * HOLD)
    assert await world.kept() == [1, 2]
    for _ in range(8 * 24):
        await world.later(HOUR)
    assert await world.kept() == [2], "retention goes on by the right clock"


async def test_by_size(world: World) -> None:
    errored = [await world.put(State.REJECTED, 50_000) for _ in range(3)]
    live = [await world.put(State.RECEIVED, 50_000) for _ in range(3)]
    ended = [await world.put(State.PROCESSED, 50_000) for _ in range(40)]
    world.configured(max_mb=1)
    await world.later(10.0)
    kept = await world.kept()
    assert kept[:6] == [*errored, *live]
    assert kept[6:] == ended[-len(kept[6:]) :], "the oldest go first"
    assert 10 < len(kept[6:]) < 20
    assert await world.store.used_bytes() <= 1024 * 1024
    await world.store.close()
    assert world.path.stat().st_size < 1.2 * 1024 * 1024
    assert counters_agree(world.path)


async def test_what_is_live_may_exceed_the_size(world: World) -> None:
    for _ in range(30):
        await world.put(State.RECEIVED, 50_000)
    world.configured(max_mb=1)
    await world.later(10.0)
    assert len(await world.kept()) == 30


async def test_space_goes_back_to_the_disk(world: World) -> None:
    for _ in range(200):
        await world.put(State.PROCESSED, 50_000)
    before = world.path.stat().st_size
    world.configured(max_mb=1)
    await world.later(10.0)
    await world.store.close()
    assert world.path.stat().st_size < 1.2 * 1024 * 1024 < before
