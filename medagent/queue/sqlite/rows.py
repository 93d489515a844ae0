"""Writing many rows with few statements.

Each call of SQLite gives the interpreter's lock away and waits to get it back, while the event loop wants it too: a statement
for a hundred rows waits once for what `executemany` may wait a hundred times. The texts are few and constant, so that each is
compiled once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

# before 3.33 there is no UPDATE ... FROM, and before 3.32 a statement takes no more than 999 values
_COUNTS = (100, 64, 32, 16, 8) if sqlite3.sqlite_version_info >= (3, 33) else ()
"""Rows of one statement, the larger first; what is left is written row by row."""


class ManyRows:
    """One statement in its forms for different numbers of rows."""

    def __init__(self, before: str, row: str, after: str = "", *, one: str = "") -> None:
        """`row`: the placeholders of one, such as `(?, ?)`, which stand between `before` and `after`.

        `one`: the statement for a single row, if another one does that better.
        """
        self.one = one or f"{before}{row}{after}"
        self._many = [(count, f"{before}{', '.join([row] * count)}{after}") for count in _COUNTS]

    def write(self, connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        """Run it for every row, in order."""
        position = 0
        for count, statement in self._many:
            while len(rows) - position >= count:
                connection.execute(statement, [value for row in rows[position : position + count] for value in row])
                position += count
        for row in rows[position:]:
            connection.execute(self.one, row)
