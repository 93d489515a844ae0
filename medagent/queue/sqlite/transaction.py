"""One transaction: all of it or nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done inside, or undo it and raise what went wrong."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # after some errors SQLite has undone it already, and must not hide them by saying so
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
