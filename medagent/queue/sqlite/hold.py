"""Leaving the queue file as it is while somebody copies it: commits go to its log, and the log is not copied into it."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable

from medagent.errors import QueueError
from medagent.queue.sqlite.backup import HOLD_SECONDS
from medagent.queue.sqlite.file import LOG_PAGES
from medagent.queue.sqlite.storage import Storage

log = logging.getLogger(__name__)


class Hold:
    """One copy at a time; who forgets to end it ends it by time."""

    def __init__(self, storage: Storage, checkpoint: Callable[[sqlite3.Connection], None]) -> None:
        """`checkpoint` as of `Storage`."""
        self._storage = storage
        self._checkpoint = checkpoint
        self._until = 0.0
        self._token = ""
        """Of who holds it; "" if nobody does."""
        self._checkpoints = 0

    @property
    def active(self) -> bool:
        """Somebody holds it."""
        return bool(self._token)

    def begin(self, connection: sqlite3.Connection, token: str, now: float) -> str:
        """Begin, or go on with the token of an earlier call; returns the token.

        Raises `QueueError` if the file was written in between or somebody else holds it, and `sqlite3.Error`.
        """
        if token:
            if token != self._token or self._storage.checkpoints != self._checkpoints:
                self.end(connection, token)
                raise QueueError("the queue's file has been written while it was copied: try again")
        elif self._token:
            raise QueueError("another backup is running: try again when it has ended")
        else:
            self._checkpoint(connection)
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            self._token, self._checkpoints = secrets.token_hex(8), self._storage.checkpoints
        self._until = now + HOLD_SECONDS
        return self._token

    def end(self, connection: sqlite3.Connection, token: str) -> bool:
        """Go on as ever; whether the file has stayed as it was since `begin` gave this token."""
        if not token or token != self._token:
            return False
        self._token = ""
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        return self._storage.checkpoints == self._checkpoints

    def forget(self) -> None:
        """The file is closed."""
        self._token = ""

    def look(self, connection: sqlite3.Connection, now: float) -> None:
        """Once a second."""
        if self._token and now > self._until:
            log.warning("a backup has ended without a word: the queue's file is written again")
            self.end(connection, self._token)
