"""Many rows with few statements."""

from __future__ import annotations

import sqlite3

import pytest

from medagent.queue.sqlite.rows import ManyRows

INSERT = ManyRows("INSERT INTO thing (number, name) VALUES ", "(?, ?)", " ON CONFLICT (number) DO NOTHING")
RENAME = ManyRows(
    "UPDATE thing SET name = v.column1 FROM (VALUES ",
    "(?, ?)",
    ") AS v WHERE number = v.column2",
    one="UPDATE thing SET name = ? WHERE number = ?",
)


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE thing (place INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER UNIQUE, name TEXT)")
    return connection


def things(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    return connection.execute("SELECT number, name FROM thing ORDER BY place").fetchall()


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 31, 32, 41, 64, 99, 100, 101, 140, 257])
def test_every_row_is_written_once_and_in_order(connection: sqlite3.Connection, count: int) -> None:
    rows = [(1000 - number, f"thing {number}") for number in range(count)]
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    INSERT.write(connection, rows)
    connection.set_trace_callback(None)
    assert things(connection) == rows
    assert len(statements) <= count // 100 + 4 + 7


@pytest.mark.parametrize("count", [1, 9, 131])
def test_rows_are_changed_by_the_same_values_whatever_their_number(connection: sqlite3.Connection, count: int) -> None:
    INSERT.write(connection, [(number, "old") for number in range(count + 1)])
    RENAME.write(connection, [(f"new {number}", number) for number in range(count)])
    assert things(connection) == [*((number, f"new {number}") for number in range(count)), (count, "old")]


def test_of_two_rows_in_conflict_within_one_statement_the_first_stays(connection: sqlite3.Connection) -> None:
    INSERT.write(connection, [(number % 5, f"thing {number}") for number in range(8)])
    assert things(connection) == [(number, f"thing {number}") for number in range(5)]
