"""Opening the queue file: private from birth, one connection, one thread.

What makes it safe is the setting of the file, in this order: created 0600 before SQLite sees it; `locking_mode=EXCLUSIVE` as
the first statement, so that no `-shm` file and no second connection can exist; WAL; `synchronous=FULL`, so that a commit
returns only after the write-ahead log is flushed to the disk.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from medagent.errors import QueueError
from medagent.failpoints import reach
from medagent.folders import make_folder, sync_folder
from medagent.queue.sqlite.pages import PAGE_BYTES
from medagent.queue.sqlite.schema import UnknownFile, bring_up_to_date
from medagent.queue.sqlite.statements import readable

T = TypeVar("T")

LOG_PAGES = 1000
"""Pages in the write-ahead log that make a commit copy it into the file."""
MAGIC = b"SQLite format 3\0"
_LOG_BYTES = 16 * 1024 * 1024
"""What the log's file keeps of the disk after a transaction that was larger."""


class Spoilt(QueueError):
    """Somebody else has written to the queue's file."""


class _Connection(sqlite3.Connection):
    """A connection whose `executemany` runs functions.

    aiosqlite has no public call for "run this on your thread", and a hop per statement costs more than the statement. So
    one hop runs a whole transaction, given as the only "row".
    """

    # the parent's signature: rows are of any shape
    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        for function in parameters:
            function(self)
        return self.cursor()


class QueueFile:
    """One open file; `run` runs a function with its connection, one after the other, on its thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: aiosqlite.Connection | None = None
        self._identity = (0, 0)
        self._log_in_use = False
        self._descriptor = -1
        """SQLite's, of the file, once it was looked for."""

    async def open(self) -> None:
        """Open or create. Raises `sqlite3.Error`, `QueueError`."""
        create_private(self.path)
        try:
            self._database = await aiosqlite.connect(
                self.path, factory=_Connection, isolation_level=None, cached_statements=64, timeout=0
            )
            await self.run(_prepare)
        except BaseException:
            await self.close()
            raise
        found = self.path.stat()
        self._identity = (found.st_dev, found.st_ino)

    def check_in_place(self) -> None:
        """SQLite goes on writing to a file that was removed, as if nothing were wrong. A look at the name opens nothing.

        Raises `QueueError`.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            raise QueueError("the queue's file has been removed: restart the agent") from None
        if (found.st_dev, found.st_ino) != self._identity:
            raise QueueError("the queue's file has been replaced: restart the agent")

    def committed(self) -> None:
        """A commit has gone into the log."""
        self._log_in_use = True

    def checkpoint(self, connection: sqlite3.Connection) -> None:
        """As the function of this name. Raises `sqlite3.Error`."""
        checkpoint(connection)
        self._log_in_use = False

    def look(self) -> None:
        """Whether somebody else has spoilt the file or its log, as far as their sizes and the first bytes tell.

        To be called on the file's thread, beside no commit. Raises `Spoilt`, `QueueError`.
        """
        self.check_in_place()
        log = self.path.with_name(self.path.name + "-wal")
        if self._log_in_use and (not log.exists() or log.stat().st_size == 0):
            raise Spoilt("its log has been cut")
        head = self._head()
        if head is not None and not head.startswith(MAGIC):
            raise Spoilt("its first bytes have been written over")
        if head is not None and int.from_bytes(head[28:32], "big") * PAGE_BYTES > self.path.stat().st_size:
            raise Spoilt("it has been cut")

    def _head(self) -> bytes | None:
        """The first bytes by SQLite's own descriptor: to open and close the file once more would drop its locks."""
        if not self._is_ours(self._descriptor):
            numbers = (int(entry.name) for entry in Path("/proc/self/fd").iterdir())
            self._descriptor = next(filter(self._is_ours, numbers), -1)
        return os.pread(self._descriptor, 100, 0) if self._descriptor >= 0 else None

    def _is_ours(self, descriptor: int) -> bool:
        try:
            found = os.fstat(descriptor)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Raises `QueueError` if the file is closed, and what the function raises."""
        if self._database is None:
            raise QueueError("the queue is closed")
        results: list[T] = []
        await self._database.executemany("", [lambda connection: results.append(function(connection))])
        return results[0]

    async def close(self) -> None:
        if self._database is not None:
            database, self._database = self._database, None
            await database.close()


def _prepare(connection: sqlite3.Connection) -> None:
    connection.text_factory = readable
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    # takes effect in a file without tables: what retention deletes can then be given back to the disk
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise QueueError(f"the file system does not support SQLite's WAL mode (it gave {mode}); move the state folder")
    connection.execute("PRAGMA synchronous = FULL")
    # a message larger than the cache would be written to the log in disorder, some of it twice
    connection.execute("PRAGMA cache_spill = OFF")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    bring_up_to_date(connection)
    # a process that was killed after a failed flush leaves in the log what may not be on disk: now it is written anew
    checkpoint(connection)


def checkpoint(connection: sqlite3.Connection) -> None:
    """Copy the whole write-ahead log into the file, and empty it. Raises `sqlite3.Error`."""
    reach("in_checkpoint")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def create_private(path: Path) -> None:
    """Make the file 0600 from birth, and its name durable: SQLite gives `-wal` the mode of the database.

    Raises `UnknownFile` for something else in its place, and `QueueError`.
    """
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        if not path.is_file():
            raise UnknownFile(f"the queue {path} is not a file") from None
        return
    except OSError as error:
        raise QueueError(f"cannot create the queue {path}: {error.strerror}") from error
    os.fsync(descriptor)
    os.close(descriptor)
    sync_folder(path.parent)
