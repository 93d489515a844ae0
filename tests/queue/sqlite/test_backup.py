"""Copies of a queue file, in use and at rest."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.errors import QueueError
from medagent.queue.base import Change
from medagent.queue.sqlite.backup import HOLD_SECONDS, copy_at_rest, copy_bytes, new_file, verify
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.doubles import Clock
from medagent.testing.queue import message
from medagent.testing.queue_file import read_messages
from medagent.types import InboundMessage, State


def accepted(seq: int) -> InboundMessage:
    made = message(f"m{seq}", f"body of {seq}" + "x" * 5000)
    made.seq, made.channel, made.callback, made.accepted_at = seq, "adt", f"key-{seq}", 1000.0 + seq
    return made


class Stage:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "queue.db"
        self.clock = Clock()
        self.store = SqliteStore(self.path, clock=self.clock)
        self.seq = 0

    async def put(self, count: int) -> None:
        for _ in range(count):
            self.seq += 1
            one = accepted(self.seq)
            await self.store.commit([one], [])
            if self.seq % 2:
                await self.store.commit([], [Change(one, State.PROCESSED)])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    await made.store.open()
    yield made
    await made.store.close()


def nothing(*_: object) -> None:
    pass


async def test_what_is_copied_is_the_queue_at_the_beginning(stage: Stage, tmp_path: Path) -> None:
    await stage.put(50)
    token = await stage.store.hold("")
    before = stage.path.read_bytes()
    # more than makes a commit copy the log into the file
    await stage.put(1000)
    await stage.store.maintain()
    assert stage.path.read_bytes() == before
    with new_file(tmp_path / "copy.db") as part:
        copy_bytes(stage.path, part, nothing, nothing)
    assert await stage.store.release(token)
    copied = verify(tmp_path / "copy.db")
    assert (copied.messages, copied.live, copied.changed) == (50, 25, 0)
    assert [row.control_id for row in read_messages(tmp_path / "copy.db")] == [f"m{seq}" for seq in range(1, 51)]
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    await stage.put(1000)
    assert stage.path.read_bytes() != before, "the log goes into the file again"
    # it is a queue like any other
    again = SqliteStore(tmp_path / "copy.db")
    await again.open()
    assert len(await again.fetch("adt", 0, 100, 10**9)) == 25
    await again.close()


async def test_a_copy_that_takes_too_long_is_not_believed(stage: Stage) -> None:
    await stage.put(10)
    token = await stage.store.hold("")
    stage.clock.now += HOLD_SECONDS - 1
    assert await stage.store.hold(token) == token
    stage.clock.now += HOLD_SECONDS - 1
    await stage.store.maintain()
    assert await stage.store.release(token)
    token = await stage.store.hold("")
    stage.clock.now += HOLD_SECONDS + 1
    await stage.store.maintain()
    with pytest.raises(QueueError, match="has been written"):
        await stage.store.hold(token)
    assert not await stage.store.release(token)
    assert not await stage.store.release(""), "nobody has asked"


async def test_one_backup_at_a_time(stage: Stage) -> None:
    token = await stage.store.hold("")
    with pytest.raises(QueueError, match="another backup"):
        await stage.store.hold("")
    await stage.store.close()
    await stage.store.open()
    with pytest.raises(QueueError, match="has been written"):
        await stage.store.hold(token)
    assert await stage.store.hold("")


async def test_at_rest_what_is_only_in_the_log_is_copied_too(stage: Stage, tmp_path: Path) -> None:
    await stage.put(5)
    folder = tmp_path / "killed"
    folder.mkdir()
    for name in ("queue.db", "queue.db-wal"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    with new_file(tmp_path / "copy.db") as part:
        copy_at_rest(folder / "queue.db", part, nothing)
    assert verify(tmp_path / "copy.db").messages == 5


async def test_a_changed_message_is_counted(stage: Stage, tmp_path: Path) -> None:
    await stage.put(3)
    await stage.store.close()
    data = stage.path.read_bytes()
    at = data.index(b"body of 2")
    stage.path.write_bytes(data[:at] + b"B" + data[at + 1 :])
    with new_file(tmp_path / "copy.db") as part:
        copy_at_rest(stage.path, part, nothing)
    assert verify(tmp_path / "copy.db").changed == 1


def test_nothing_is_overwritten_and_nothing_half_made_is_left(tmp_path: Path) -> None:
    path = tmp_path / "copy.db"
    with pytest.raises(RuntimeError), new_file(path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    with pytest.raises(QueueError, match="there already"), new_file(path):
        pass
    assert path.read_text() == "mine"
    with pytest.raises(QueueError, match="cannot write"), new_file(tmp_path / "missing" / "copy.db"):
        pass
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(QueueError, match="cannot be read"):
        verify(path)
    with pytest.raises(sqlite3.Error):
        copy_at_rest(path, tmp_path / "other.db", nothing)
