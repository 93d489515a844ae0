"""Writing many rows with one statement.

Each step of SQLite gives the interpreter's lock away and waits to get it back, while the event loop wants it too: one statement
for a hundred rows waits once for what `executemany` may wait a hundred times. The texts are few and constant, so that each is
compiled once; rows of NULL fill up to the next size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

_COUNTS = (8, 16, 32, 64, 100, 200, 400)
"""Rows of one statement."""


class ManyRows:
    """One statement in its forms for different numbers of rows."""

    def __init__(self, before: str, columns: int, after: str = "", *, one: str) -> None:
        """`before` and `after` stand around the values of the rows, a subquery whose columns are `column1` and so on.

        The statement must do nothing for a row of NULLs. `one`: the statement for a single row.
        """
        self.one = one
        row = f"({', '.join('?' * columns)})"
        self._columns = columns
        self._many = {count: f"{before}(VALUES {', '.join([row] * count)}){after}" for count in _COUNTS}

    def write(self, connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        """Run it for every row, in order."""
        position, left = 0, len(rows)
        while left > 1:
            count = next((each for each in _COUNTS if each >= left), _COUNTS[-1])
            some = rows[position : position + count]
            values = [value for row in some for value in row]
            values += [None] * (self._columns * (count - len(some)))
            connection.execute(self._many[count], values)
            position += count
            left -= count
        if left == 1:
            connection.execute(self.one, rows[position])
