"""Copying the log into the file after a large commit, not within it: others then wait for one of the two only."""

from __future__ import annotations

import contextlib
import sqlite3

from medagent.queue.sqlite.file import LOG_PAGES


class LateCheckpoint:
    """Sees to the log after a large commit, which SQLite would copy within it. All of it runs on the store's thread."""

    def __init__(self) -> None:
        self.due = False
        """The log is long, and SQLite leaves it as it is."""

    def before_large_commit(self, connection: sqlite3.Connection) -> None:
        """Raises `sqlite3.Error`."""
        self.make(connection)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        self.due = True

    def make(self, connection: sqlite3.Connection) -> None:
        """Copy the log now, if that is due. What fails fails again within a commit, as ever."""
        if self.due:
            self.due = False
            with contextlib.suppress(sqlite3.Error):
                connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def forget(self) -> None:
        """Nothing is due: the file is closed, or somebody else sees to its log."""
        self.due = False
