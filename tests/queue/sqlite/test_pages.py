"""Rows read from pages are the rows that SQLite reads."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.queue.sqlite.pages import scan

VALUES = (
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=40) | st.binary(max_size=40)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, st.integers(0, 40_000)), max_size=60), st.integers(0, 2**32))
def test_every_row_is_found_as_it_is(rows: list[tuple[object, object, int]], seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  a test's bytes
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.db"
        stored = {number: (a, b, chance.randbytes(size)) for number, (a, b, size) in enumerate(rows, 1)}
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE some (id INTEGER PRIMARY KEY, a, b, data BLOB)")
            connection.executemany("INSERT INTO some VALUES (?, ?, ?, ?)", [(number, *row) for number, row in stored.items()])
        found = {rowid: tuple(values[1:]) for rowid, values in scan(path) if len(values) == 4}
        assert found == stored


@given(st.binary(max_size=3 * 4096))
def test_nothing_raises(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "garbage"
        path.write_bytes(data)
        list(scan(path))


def test_chains_of_pages_that_go_round_end(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE some (id INTEGER PRIMARY KEY, data BLOB)")
        connection.execute("INSERT INTO some VALUES (1, ?)", (bytes(100_000),))
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 4] = (page + 1).to_bytes(4, "big")  # each leads to itself
    path.write_bytes(data)
    assert all(len(values) == 2 or rowid == 1 for rowid, values in scan(path))
