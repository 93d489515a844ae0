"""The queue on SQLite: one file, one connection, one thread, one transaction a commit.

What makes it safe is the setting of the file, in this order: created 0600 before SQLite sees it; `locking_mode=EXCLUSIVE` as
the first statement, so that no `-shm` file and no second connection can exist; WAL; `synchronous=FULL`, so that a commit
returns only after the write-ahead log is flushed to the disk.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from medagent.clock import Clock
from medagent.errors import QueueError
from medagent.failpoints import reach
from medagent.queue import statements
from medagent.queue.base import Change, ChannelDepth, Receipt
from medagent.queue.insertion import Inserted, Registers, insert_batch
from medagent.types import InboundMessage, State

T = TypeVar("T")

QUEUE_NAME = "queue.db"
"""The queue's file in a state folder."""
LIVE = tuple(state for state in State if not state.ended)


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


class SqliteStore:
    """A `medagent.queue.base.QueueStore` in one file."""

    def __init__(self, path: Path, *, clock: Clock = time) -> None:
        self._path = path
        self._clock = clock
        self._database: aiosqlite.Connection | None = None
        self._commits = 0
        self._counts: dict[tuple[str, State], int] = {}
        self._registers: Registers = {}
        self._identity = (0, 0)

    async def open(self) -> int:
        _create_private(self._path)
        try:
            self._database = await aiosqlite.connect(
                self._path, factory=_Connection, isolation_level=None, cached_statements=64, timeout=0
            )
            return await self._run(self._prepare)
        except (sqlite3.Error, QueueError) as error:
            await self.close()
            raise QueueError(f"cannot open the queue {self._path}: {error}") from error

    def _prepare(self, connection: sqlite3.Connection) -> int:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise QueueError(f"the file system does not support SQLite's WAL mode (it gave {mode}); move the state folder")
        connection.execute("PRAGMA synchronous = FULL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            connection.executescript(f"BEGIN IMMEDIATE; {statements.SCHEMA} COMMIT;")
        elif connection.execute("PRAGMA application_id").fetchone()[0] != statements.APPLICATION_ID:
            raise QueueError("it is another program's database")
        elif version != statements.SCHEMA_VERSION:
            known = statements.SCHEMA_VERSION
            raise QueueError(f"its format is {version}, and this medagent knows {known}: use the medagent that made it")
        found = self._path.stat()
        self._identity = (found.st_dev, found.st_ino)
        rows = connection.execute("SELECT channel, state, count FROM counter")
        self._counts = {(channel, State(state)): count for channel, state, count in rows}
        rows = connection.execute("SELECT channel, name, value FROM register")
        self._registers = {(channel, name): value for channel, name, value in rows}
        self._recover(connection)
        return int(connection.execute("SELECT coalesce(max(seq), 0) FROM message").fetchone()[0])

    def _recover(self, connection: sqlite3.Connection) -> None:
        """No connection outlives the agent: what was sent will be sent again, and what was being told cannot be told."""
        moves = {State.SENT: State.RECEIVED, State.RESPONSE_QUEUED: State.RESPONSE_UNDELIVERED}
        connection.execute("BEGIN IMMEDIATE")
        touched = set()
        for channel in {channel for channel, _ in self._counts}:
            for old, new in moves.items():
                count = connection.execute(statements.RECOVER, (new, channel, old)).rowcount
                if count:
                    self._counts[channel, new] = self._counts.get((channel, new), 0) + count
                    self._counts[channel, old] = self._counts.get((channel, old), 0) - count
                    touched |= {(channel, old), (channel, new)}
        self._write_counters(connection, self._counts, touched)
        connection.execute("COMMIT")

    async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        return await self._run(lambda connection: self._commit(connection, messages, changes))

    def _commit(self, connection: sqlite3.Connection, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        self._check_file()
        connection.execute("BEGIN IMMEDIATE")
        try:
            # changes first: a resend of a message whose answer is in this batch then finds the answer
            statements.mark_batch(connection, changes, self._clock.time())
            inserted = insert_batch(connection, messages, self._registers) if messages else Inserted()
            counts, touched = self._counted(inserted.stored, changes)
            self._write_counters(connection, counts, touched)
            for (channel, name), value in inserted.registers.items():
                connection.execute(statements.SET_REGISTER, (channel, name, value))
            reach("before_commit")
            connection.execute("COMMIT")
            reach("after_commit")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        self._counts = counts
        self._registers |= inserted.registers
        for message in inserted.stored:
            message.stored_state = State.RECEIVED
        for change in changes:
            change.message.stored_state = change.state
        self._commits += 1
        stored = list(inserted.stored)
        return Receipt(self._commits, stored, inserted.duplicates, inserted.rejected, inserted.reused, inserted.noted)

    def _check_file(self) -> None:
        """SQLite goes on writing to a file that was removed, as if nothing were wrong. A look at the name opens nothing."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise QueueError("the queue's file has been removed: restart the agent") from None
        if (found.st_dev, found.st_ino) != self._identity:
            raise QueueError("the queue's file has been replaced: restart the agent")

    def _counted(
        self, stored: Sequence[InboundMessage], changes: Sequence[Change]
    ) -> tuple[dict[tuple[str, State], int], set[tuple[str, State]]]:
        counts = dict(self._counts)
        touched = set()
        for message in stored:
            key = (message.channel, State.RECEIVED)
            counts[key] = counts.get(key, 0) + 1
            touched.add(key)
        for change in changes:
            old, new = change.message.stored_state, change.state
            if old is None or old is new:
                continue
            channel = change.message.channel
            counts[channel, old] = counts.get((channel, old), 0) - 1
            counts[channel, new] = counts.get((channel, new), 0) + 1
            touched |= {(channel, old), (channel, new)}
        return counts, touched

    @staticmethod
    def _write_counters(
        connection: sqlite3.Connection, counts: dict[tuple[str, State], int], touched: set[tuple[str, State]]
    ) -> None:
        for channel, state in touched:
            connection.execute(statements.SET_COUNTER, (channel, state, counts[channel, state]))

    async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
        def read(connection: sqlite3.Connection) -> list[InboundMessage]:
            found: list[InboundMessage] = []
            size = 0
            cursor = connection.execute(statements.FETCH, (channel, after, limit))
            for row in cursor:
                found.append(_message(row))
                size += len(row[8])
                if size >= max_bytes:
                    break
            cursor.close()
            return found

        return await self._run(read)

    async def fetch_one(self, seq: int) -> InboundMessage | None:
        def read(connection: sqlite3.Connection) -> InboundMessage | None:
            row = connection.execute(statements.FETCH_ONE, (seq,)).fetchone()
            return _message(row) if row else None

        return await self._run(read)

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        return await self._run(lambda connection: connection.execute(statements.RETRIES, (channel,)).fetchall())

    async def registers(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for (channel, name), value in self._registers.items():
            found.setdefault(channel, {})[name] = value
        return found

    async def depths(self) -> dict[str, ChannelDepth]:
        def read(connection: sqlite3.Connection) -> dict[str, ChannelDepth]:
            return depths_of(connection, self._counts)

        return await self._run(read)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()
            self._database = None

    async def _run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        if self._database is None:
            raise QueueError("the queue is closed")
        results: list[T] = []
        await self._database.executemany("", [lambda connection: results.append(function(connection))])
        return results[0]


def depths_of(connection: sqlite3.Connection, counts: dict[tuple[str, State], int]) -> dict[str, ChannelDepth]:
    """How each channel stands, from the counters and the oldest live row."""
    depths: dict[str, ChannelDepth] = {}
    for channel in sorted({channel for channel, _ in counts}):
        of_channel = {state: counts.get((channel, state), 0) for state in State}
        oldest = [
            row[0]
            for state in LIVE
            if of_channel[state] and (row := connection.execute(statements.OLDEST, (channel, state)).fetchone())
        ]
        depths[channel] = ChannelDepth(of_channel, min(oldest, default=None))
    return depths


def read_depths(path: Path) -> dict[str, ChannelDepth]:
    """The same for a queue that no agent holds: the caller has the lock. Raises `QueueError`."""
    if not path.exists():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA query_only = ON")
            rows = connection.execute("SELECT channel, state, count FROM counter")
            return depths_of(connection, {(channel, State(state)): count for channel, state, count in rows})
    except sqlite3.Error as error:
        raise QueueError(f"cannot read the queue {path}: {error}") from error


# a row as sqlite3 gives it: its shape is that of statements._COLUMNS
def _message(row: Any) -> InboundMessage:
    return InboundMessage(
        seq=row[0],
        control_id=row[1],
        remote=row[2],
        link=row[3],
        callback=row[4],
        accepted_at=row[5],
        attempts=row[6],
        stored_state=State(row[7]),
        body=row[8],
        channel=row[9],
        number=row[10],
    )


def _create_private(path: Path) -> None:
    """Make the file 0600 from birth, and its name durable: SQLite gives `-wal` the mode of the database."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        if not path.is_file():
            raise QueueError(f"the queue {path} is not a file") from None
        return
    except OSError as error:
        raise QueueError(f"cannot create the queue {path}: {error.strerror}") from error
    os.fsync(descriptor)
    os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
