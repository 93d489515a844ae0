"""Files of every earlier form open, and nothing in them is lost. `schemas/N.sql` is a queue as version N wrote it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from medagent.failpoints import VARIABLE
from medagent.queue.sqlite.schema import SCHEMA_VERSION
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import message
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.types import State

SCHEMAS = Path(__file__).parent / "schemas"
VERSIONS = range(1, SCHEMA_VERSION)


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "queue.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript((SCHEMAS / f"{request.param}.sql").read_text())
    return path


def test_there_is_a_file_of_each() -> None:
    assert {path.stem for path in SCHEMAS.glob("*.sql")} == {str(version) for version in VERSIONS}


async def check(path: Path) -> None:
    """What the samples hold is there, and is worked on."""
    before = read_messages(path)
    store = SqliteStore(path)
    assert await store.open() == 6
    try:
        assert [found.control_id for found in await store.fetch("adt", 0, 10, 10**6)] == ["A4", "A5"]
        [numbered] = await store.fetch("lab", 0, 10, 10**6)
        assert (numbered.control_id, numbered.number) == ("L1", 0)
        assert await store.retries("adt") == [(4, 1767614500.0)]
        assert await store.registers() == {"adt": {"link-00000000000004d2-expected": 7}, "lab": {"number": 1}}
        again, new = message("A1", (before[0].body).decode("latin-1")), message("N1")
        again.seq, again.accepted_at, new.seq = 7, 1767614500.0, 8
        again.channel = new.channel = "adt"
        receipt = await store.commit([again, new], [])
        assert [(one.seq, one.state) for one in receipt.duplicates] == [(1, State.RESPONSE_SENT)]
        assert receipt.committed == [new]
        assert store.reasons() == []
    finally:
        await store.close()
    after = read_messages(path)
    assert [(one.seq, one.callback, one.body, one.response, one.error) for one in after[:6]] == [
        (one.seq, one.callback, one.body, one.response, one.error) for one in before
    ]
    assert counters_agree(path)


async def test_an_older_file_is_converted(old: Path) -> None:
    await check(old)
    with contextlib.closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


OPEN = "import asyncio, os, sys; from pathlib import Path; from medagent import failpoints; failpoints.arm(os.environ);"
OPEN += "from medagent.queue.sqlite.store import SqliteStore; asyncio.run(SqliteStore(Path(sys.argv[1])).open())"


@pytest.mark.parametrize("turn", [1, 2])
async def test_a_crash_while_it_is_converted(old: Path, turn: int) -> None:
    environ = os.environ | {VARIABLE: f"in_migration:{turn}"}
    command = [sys.executable, "-c", OPEN, str(old)]
    ended = await asyncio.to_thread(subprocess.run, command, env=environ, timeout=30, check=False)
    assert ended.returncode == -9
    with contextlib.closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION
    await check(old)
