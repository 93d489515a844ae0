"""Queue files that cannot be used: never a stop, never a loss without a word, and the file itself is kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medagent.errors import QueueError
from medagent.queue.base import Change
from medagent.queue.sqlite import damage
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import message
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.types import InboundMessage, State

MESSAGES = 400


def accepted(seq: int) -> InboundMessage:
    made = message(f"m{seq}", f"body of {seq} " + "x" * (seq * 37 % 900))
    made.seq, made.channel, made.callback, made.accepted_at = seq, "adt", f"key-{seq}", 1000.0 + seq
    return made


BODIES = {seq: accepted(seq).body for seq in range(1, MESSAGES + 1)}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A queue of 400 messages, every fourth of them ended, closed in order."""
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    messages = [accepted(seq) for seq in range(1, MESSAGES + 1)]
    for begin in range(0, MESSAGES, 50):
        await store.commit(messages[begin : begin + 50], [])
    await store.commit([], [Change(each, State.PROCESSED) for each in messages[::4]])
    await store.close()
    return tmp_path / "queue.db"


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def everything(store: SqliteStore) -> dict[int, bytes | None]:
    """The bodies of what would be sent."""
    found: dict[int, bytes | None] = {}
    after = 0
    while page := await store.fetch("adt", after, 100, 10**9):
        found |= {each.seq: each.body for each in page}
        after = page[-1].seq
    return found


def quarantined(path: Path) -> list[Path]:
    return sorted((path.parent / "quarantine").glob("*"))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def garbage(path: Path) -> None:
    path.write_bytes(b"not a database, but as long as one" * 200)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "something").write_text("inside")


def newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE song (title TEXT); PRAGMA user_version = 2;")


def without_a_table(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE counter")


@pytest.mark.parametrize(
    ("spoil", "least"),
    [
        (truncate, 150),
        (zero_header, 400),
        (garbage, 0),
        (folder, 0),
        (newer, 400),
        (foreign, 0),
        (without_a_table, 400),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_it_opens_and_says_what_is_missing(path: Path, spoil: Callable[[Path], None], least: int) -> None:
    spoil(path)
    async with opened(path) as store:
        found = await everything(store)
        assert all(BODIES[seq] == body for seq, body in found.items())
        depth = (await store.depths()).get("adt")
        saved = sum(depth.counts.values()) if depth else 0
        assert saved >= least
        [damaged, *missing] = store.reasons()
        assert f"the queue was damaged: {saved}" in damaged
        if saved < MESSAGES:
            assert missing, "the high-water mark tells"
            assert missing[0].endswith(f"..{MESSAGES}")
        # it is at work again
        one = accepted(MESSAGES + 1)
        assert (await store.commit([one], [])).committed == [one]
    [aside] = quarantined(path)
    assert (aside / "queue.db").exists()
    assert not damage.pending(path)
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700
    assert counters_agree(path)
    async with opened(path) as store:
        assert store.reasons() == [], "said once: what is there now is whole"


async def test_sequence_numbers_go_on_above_what_is_missing(path: Path) -> None:
    garbage(path)
    store = SqliteStore(path)
    assert await store.open() == MESSAGES
    await store.close()


async def test_a_removed_file_is_noticed(path: Path) -> None:
    path.unlink()
    async with opened(path) as store:
        assert store.reasons() == [f"acknowledged messages are missing from the queue: seq 1..{MESSAGES}"]


@pytest.mark.parametrize("seed", range(40))
async def test_one_flipped_bit_anywhere(path: Path, seed: int) -> None:
    # SQLite itself notices few of these: the check value of a row does
    chance = random.Random(seed)  # noqa: S311  a test's dice
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    async with opened(path) as store:
        for _ in range(3):
            try:
                found = await everything(store)
                break
            except sqlite3.DatabaseError:
                assert store.damage, "the agent opens it anew"
                await store.close()
                await store.open()
        else:
            pytest.fail("it stays broken")
        live = {seq for seq in BODIES if seq % 4 != 1}
        assert all(BODIES[seq] == body for seq, body in found.items()), "never a changed body"
        missing = live - found.keys()
        assert not missing or store.reasons(), missing


async def test_a_changed_body_is_not_sent(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"body of 200 ")
    path.write_bytes(data[:at] + b"BODY" + data[at + 4 :])
    async with opened(path) as store:
        assert 200 not in await everything(store)
        assert len(await everything(store)) == 299
        assert await store.fetch_one(200) is None
        assert store.reasons() == ["1 message(s) had changed on the disk and were not sent"]
        assert (await store.depths())["adt"].counts[State.DEAD_LETTER] == 1
    [row] = [each for each in read_messages(path) if each.seq == 200]
    assert row.state is State.DEAD_LETTER
    assert row.error == "its bytes on disk are not those that were stored"
    assert counters_agree(path)


@pytest.mark.parametrize("flips", [1, 3])
@pytest.mark.parametrize("seed", range(10))
async def test_a_lost_end_of_the_log_is_reported(tmp_path: Path, seed: int, flips: int) -> None:
    path = tmp_path / "queue.db"
    store = SqliteStore(path)
    await store.open()
    for seq in range(1, 31):
        await store.commit([accepted(seq)], [])
    await store.maintain()
    # as after a kill: the log is not copied into the file
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("queue.db", "queue.db-wal", "queue.mark"):
        (copy / name).write_bytes((tmp_path / name).read_bytes())
    await store.close()
    chance = random.Random(seed)  # noqa: S311  a test's dice
    log = bytearray((copy / "queue.db-wal").read_bytes())
    for _ in range(flips):
        log[chance.randrange(len(log))] ^= 1 << chance.randrange(8)
    (copy / "queue.db-wal").write_bytes(log)
    async with opened(copy / "queue.db") as store:
        found = await everything(store)
        assert list(found) == list(range(1, len(found) + 1)), "what is lost is an end"
        if len(found) < 30:
            assert any(f"seq {len(found) + 1}..30" in reason for reason in store.reasons())


async def test_a_crash_while_it_is_read_anew(path: Path) -> None:
    # moved aside, and half of a new one made
    aside = damage.move_aside(path)
    path.write_bytes(b"")
    assert damage.pending(path) == [aside]
    async with opened(path) as store:
        assert len(await everything(store)) == 300
        assert "400 of 400" in store.reasons()[0]
    assert damage.pending(path) == []


async def test_damage_that_shows_at_work(path: Path) -> None:
    data = bytearray(path.read_bytes())
    page = 4096
    start = data.index(b"body of 200 ") // page * page
    data[start : start + page] = os.urandom(page)
    path.write_bytes(data)
    store = SqliteStore(path)
    await store.open()
    with pytest.raises(sqlite3.DatabaseError):
        await everything(store)
    assert store.damage
    with pytest.raises(QueueError, match="opened anew"):
        await store.commit([accepted(MESSAGES + 1)], [])
    await store.close()
    await store.open()
    assert store.damage == ""
    assert len(await everything(store)) > 280
    assert (await store.commit([accepted(MESSAGES + 2)], [])).committed
    await store.close()
    assert counters_agree(path)


@pytest.mark.parametrize("left", [0.9, 0.5])
async def test_what_no_tree_leads_to_is_read_page_by_page(path: Path, left: float) -> None:
    # of a file that is cut, the upper pages of the trees may be gone
    size = path.stat().st_size
    os.truncate(path, int(size * left))
    async with opened(path) as store:
        saved = (await store.depths())["adt"]
        count = sum(saved.counts.values())
        assert count > MESSAGES * left * 0.6
        assert saved.counts[State.PROCESSED] > count / 8, "in the states that they were in"
        assert all(BODIES[seq] == body for seq, body in (await everything(store)).items())
        if count < MESSAGES:
            assert any(
                "acknowledged messages are missing" in reason or "missing between" in reason for reason in store.reasons()
            )
    assert counters_agree(path)


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_is_in_the_small_tables_the_start_goes_through(path: Path, seed: int) -> None:
    # the reads of a start, and those of the work, with other values in the columns that the file's own rules let be anything
    chance = random.Random(seed)  # noqa: S311  a test's dice
    odd = chance.choice(["'text'", "X'80ff'", "NULL", "-5", "27", "CAST(X'80ff' AS TEXT)"])
    table, column = chance.choice(
        [
            ("counter", "count"),
            ("counter", "state"),
            ("register", "value"),
            ("message", "next_attempt_at"),
            ("message", "state"),
            ("message", "callback"),
            ("message", "control_id"),
            ("message", "attempts"),
        ]
    )
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.IntegrityError), connection:
        connection.execute("UPDATE message SET state = 3 WHERE seq = 8")
        where = " WHERE seq = 8" if table == "message" else ""
        connection.execute(f"UPDATE OR IGNORE {table} SET {column} = {odd}{where}")  # noqa: S608  names of this test
    for _ in range(2):
        async with opened(path) as store:
            await store.registers()
            await store.depths()
            assert all(isinstance(at, float) for _, at in await store.retries("adt"))
            found = await everything(store)
            assert len(found) >= 290
            assert all(BODIES[number] == body for number, body in found.items() if number in BODIES)
            newest = max(found) + 1000 + seed
            await store.commit([accepted(newest)], [])


async def test_a_file_that_is_spoilt_while_it_is_open_is_noticed(path: Path) -> None:
    for spoil in (zero_header, truncate):
        store = SqliteStore(path)
        newest = await store.open()
        await store.commit([accepted(newest + 1)], [])
        spoil(path)
        await store.maintain()
        assert store.damage, spoil.__name__
        with pytest.raises(QueueError, match="damaged"):
            await store.commit([accepted(newest + 2)], [])
        await store.close()
        await store.open()
        assert store.damage == ""
        assert any("the queue was damaged" in reason for reason in store.reasons())
        await store.close()


async def test_a_log_that_is_cut_while_it_is_in_use_is_noticed(path: Path) -> None:
    store = SqliteStore(path)
    newest = await store.open()
    await store.maintain()
    assert store.damage == ""
    await store.commit([accepted(newest + 1)], [])
    os.truncate(path.with_name("queue.db-wal"), 0)
    await store.maintain()
    assert "log" in store.damage
    await store.close()


@pytest.mark.parametrize("value", ["x''", "'RECEIVED'", "99"])
async def test_a_state_that_there_is_not_is_damage(path: Path, value: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE message SET state = {value} WHERE seq = 8")  # noqa: S608  the test's own values
        connection.commit()
    async with opened(path) as store:
        with pytest.raises(KeyError):
            await store.commit((), [Change(accepted(8), State.PROCESSED)])
        assert store.damage


MEASURED = """
import asyncio, resource, sys
from pathlib import Path
from medagent.queue.sqlite.store import SqliteStore

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    store.damage = "as a test says"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    newest = await store.open()
    await store.close()
    print(newest, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(main())
"""


async def test_a_large_queue_is_read_anew_in_little_memory(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    for seq in range(1, 41):
        large = accepted(seq)
        large.body = os.urandom(2_000_000)
        await store.commit([large], ())
    await store.close()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MEASURED, str(tmp_path / "queue.db")), stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await process.communicate()
    newest, grown_mb = map(int, stdout.split())
    assert newest == 40
    assert grown_mb < 40, "of 80 MB"
