"""The queue on SQLite: what is on disk, what a second opener gets, and what becomes of files that are no queue."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medagent.errors import QueueError
from medagent.queue.base import Change
from medagent.queue.sqlite.counting import read_depths
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import message
from medagent.types import InboundMessage, State


def accepted(seq: int, control_id: str, body: str | None = None, *, channel: str = "adt", link: str = "c1") -> InboundMessage:
    made = message(control_id, body, link=link)
    made.seq, made.channel, made.callback, made.accepted_at = seq, channel, f"key-{seq}", 1000.0 + seq
    return made


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "queue.db"


MakeStore = Callable[[], SqliteStore]


@pytest.fixture
async def make_store(path: Path) -> AsyncIterator[MakeStore]:
    """Stores on `path`, closed at the end of the test whatever its outcome: an open one keeps the process from ending."""
    made: list[SqliteStore] = []

    def make() -> SqliteStore:
        made.append(SqliteStore(path))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore) -> SqliteStore:
    store = make_store()
    assert await store.open() == 0
    return store


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_files_are_private_from_birth_and_there_is_no_shm(make_store: MakeStore, path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        store = make_store()
        await store.open()
        await store.commit([accepted(1, "a")], [])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        folder = stat.S_IMODE(path.parent.stat().st_mode)
        await store.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("queue.db", "queue.db-wal", "queue.mark", "queue.reserve"), 0o600)
    assert folder == 0o700


OPENER = """
import asyncio, sys
from pathlib import Path
from medagent.errors import QueueError
from medagent.queue.sqlite.store import SqliteStore
try:
    asyncio.run(SqliteStore(Path(sys.argv[1])).open())
except QueueError as error:
    sys.exit(str(error))
"""


async def test_a_second_process_cannot_open_it(store: SqliteStore, path: Path) -> None:
    await store.commit([accepted(1, "a")], [])
    command = [sys.executable, "-c", OPENER, str(path)]
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert "locked" in second.stderr
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as reader, pytest.raises(sqlite3.OperationalError):
        reader.execute("SELECT * FROM message").fetchall()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
import aiosqlite
from medagent.queue.sqlite.store import SqliteStore
from medagent.types import InboundMessage

connect, opened = aiosqlite.connect, []

def keep(*arguments, **options):
    opened.append(connect(*arguments, **options))
    return opened[0]

async def main():
    aiosqlite.connect = keep
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    for name in ("journal_mode", "synchronous", "locking_mode"):
        [[value]] = await opened[0].execute_fetchall("PRAGMA " + name)
        print(value, flush=True)
    await store.commit([InboundMessage(b"x", "a", "r", "l", channel="adt", seq=1, callback="key")], [])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_committed_survives_a_kill_under_the_durable_settings(make_store: MakeStore, path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(path)]
    killed = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30)
    # 2 is FULL: https://sqlite.org/pragma.html#pragma_synchronous
    assert killed.stdout.split() == ["wal", "2", "exclusive"]
    store = make_store()
    assert await store.open() == 1
    [found] = await store.fetch("adt", 0, 10, 1000)
    await store.close()
    assert (found.control_id, found.body, found.callback) == ("a", b"x", "key")


async def test_a_message_comes_back_as_it_was(store: SqliteStore, path: Path) -> None:
    body = bytes(range(256)) * 3
    given = InboundMessage(body, "a", "10.0.0.7:1", "c9", object(), channel="adt", seq=7, callback="key-7", accepted_at=1234.5)
    await store.commit([given], [])
    await store.close()
    await store.open()
    found = await store.fetch_one(7)
    await store.close()
    assert found is not None
    assert (found.body, found.control_id, found.remote, found.link, found.channel, found.seq) == (
        body,
        "a",
        "10.0.0.7:1",
        "c9",
        "adt",
        7,
    )
    assert (found.callback, found.accepted_at, found.attempts, found.stored_state) == ("key-7", 1234.5, 0, State.RECEIVED)
    assert (found.origin, found.received_at) == (None, 0.0)


async def test_at_open_nothing_is_on_its_way(store: SqliteStore, path: Path) -> None:
    batch = [accepted(seq, f"m{seq}") for seq in range(1, 6)]
    await store.commit(batch, [])
    one, two, three, four, _ = batch
    await store.commit(
        [],
        [
            Change(one, State.SENT),
            Change(two, State.RESPONSE_QUEUED, response="ACK", status_code=200),
            Change(three, State.ERROR, next_attempt_at=1.0),
            Change(four, State.RESPONSE_SENT),
        ],
    )
    await store.close()
    await store.open()
    counts = (await store.depths())["adt"].counts
    assert {state: count for state, count in counts.items() if count} == {
        State.RECEIVED: 2,
        State.ERROR: 1,
        State.RESPONSE_UNDELIVERED: 1,
        State.RESPONSE_SENT: 1,
    }
    assert [found.seq for found in await store.fetch("adt", 0, 10, 1000)] == [1, 5]
    await store.close()
    assert rows(path, "SELECT response, status_code FROM message WHERE seq = 2") == [("ACK", 200)]


async def test_depth_names_the_oldest_live_message(store: SqliteStore) -> None:
    batch = [accepted(seq, f"m{seq}") for seq in (1, 2, 3)]
    await store.commit(batch, [])
    await store.commit([], [Change(batch[0], State.REJECTED), Change(batch[1], State.ERROR)])
    assert (await store.depths())["adt"].oldest_accepted_at == 1002.0
    await store.commit([], [Change(one, State.DEAD_LETTER) for one in batch[1:]])
    assert (await store.depths())["adt"].oldest_accepted_at is None


async def test_what_is_known_of_an_answer_stays(store: SqliteStore, path: Path) -> None:
    one = accepted(1, "a")
    await store.commit([one], [])
    one.attempts = 3
    await store.commit([], [Change(one, State.RESPONSE_UNDELIVERED, response="ACK", status_code=200)])
    # as after a resend, when memory knows the message only by its seq
    late = accepted(1, "a")
    late.stored_state = State.RESPONSE_UNDELIVERED
    await store.commit([], [Change(late, State.RESPONSE_SENT)])
    await store.close()
    assert rows(path, "SELECT state, response, status_code, attempts FROM message") == [(State.RESPONSE_SENT, "ACK", 200, 3)]


async def test_half_a_surrogate_pair_in_an_answer_can_be_stored(store: SqliteStore) -> None:
    one = accepted(1, "a")
    await store.commit([one], [])
    await store.commit([], [Change(one, State.RESPONSE_SENT, response="\ud83d", error="\ude00")])
    assert (await store.commit([accepted(2, "a")], [])).duplicates[0].response == "?"


async def test_a_file_in_place_of_its_folder(make_store: MakeStore, path: Path) -> None:
    path.parent.write_text("")
    with pytest.raises(QueueError):
        await make_store().open()


async def test_a_closed_store_says_so(store: SqliteStore) -> None:
    await store.close()
    await store.close()
    with pytest.raises(QueueError, match="closed"):
        await store.commit([], [])


async def test_a_queue_without_an_agent_is_read_and_not_changed(store: SqliteStore, path: Path) -> None:
    batch = [accepted(seq, f"m{seq}") for seq in (1, 2)]
    await store.commit(batch, [])
    await store.commit([], [Change(batch[0], State.SENT)])
    expected = await store.depths()
    await store.close()
    assert read_depths(path) == expected
    assert rows(path, "SELECT state FROM message ORDER BY seq") == [(State.SENT,), (State.RECEIVED,)]
    assert read_depths(path.with_name("missing.db")) == {}
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(QueueError):
        read_depths(path)


def lingering_threads() -> list[str]:
    """aiosqlite's threads are not daemons: one left over keeps the process from ending."""
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    for thread in threads:
        thread.join(5.0)
    return [thread.name for thread in threads if thread.is_alive()]


@pytest.mark.parametrize("what", ["removed", "replaced"])
async def test_a_vanished_file_takes_no_more(store: SqliteStore, path: Path, what: str) -> None:
    await store.commit([accepted(1, "a")], [])
    path.rename(path.with_name("elsewhere.db"))
    if what == "replaced":
        path.touch()
    with pytest.raises(QueueError, match=what):
        await store.commit([accepted(2, "b")], [])
