"""Leaving the queue file as it is while somebody copies it: commits go to its log, and the log is not copied into it."""

from __future__ import annotations

import logging
import sqlite3

from medagent.errors import QueueError
from medagent.queue.sqlite.backup import HOLD_SECONDS
from medagent.queue.sqlite.file import LOG_PAGES, checkpoint
from medagent.queue.sqlite.storage import Storage

log = logging.getLogger(__name__)


class Hold:
    """One copy at a time; who forgets to end it ends it by time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._until = 0.0
        self._held = False
        self._checkpoints = 0

    @property
    def _intact(self) -> bool:
        return self._held and self._storage.checkpoints == self._checkpoints

    def begin(self, connection: sqlite3.Connection, now: float) -> None:
        """Begin, or go on. Raises `QueueError` if the file was written in between, `sqlite3.Error`."""
        if self._held and not self._intact:
            self.end(connection)
            raise QueueError("the queue's file had to be written for the sake of the disk: try again")
        if not self._held:
            checkpoint(connection)
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            self._held, self._checkpoints = True, self._storage.checkpoints
        self._until = now + HOLD_SECONDS

    def end(self, connection: sqlite3.Connection) -> bool:
        """Go on as ever; whether the file has stayed as it was."""
        intact = self._intact
        self._held = False
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        return intact

    def look(self, connection: sqlite3.Connection, now: float) -> None:
        """Once a second."""
        if self._held and now > self._until:
            log.warning("a backup has ended without a word: the queue's file is written again")
            self.end(connection)
