"""The disk of a simulated agent: what a crash leaves of it, and its rows as they are, whatever the agent thinks."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypeVar, cast

from medagent.clock import Clock
from medagent.queue.base import QueueStore
from medagent.queue.sqlite.file import QueueFile
from medagent.queue.sqlite.schema import bring_up_to_date
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.simulation.message import Key, read_body
from medagent.types import DEFAULT_RULES, State

T = TypeVar("T")

SELECT = """
SELECT m.seq, m.channel, m.control_id, b.data, m.callback, m.state, m.accepted_at, m.number
FROM message m LEFT JOIN body b ON b.seq = m.seq
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One message on disk."""

    seq: int
    channel: str
    control_id: str
    body: bytes
    callback: str
    state: State
    accepted_at: float
    number: int | None
    """By `AcceptanceRules.numbered`."""

    @property
    def key(self) -> Key:
        return (self.channel, self.control_id, read_body(self.body.decode("latin-1")).mark)

    def stands_for(self, later: Row) -> bool:
        """Whether `later`, which says the same, should not have been stored beside this."""
        if self.state in (State.REJECTED, State.DEAD_LETTER):
            return False
        return self.accepted_at > later.accepted_at - DEFAULT_RULES.duplicate_window


class Disk(Protocol):
    """Where a simulated store keeps what it has committed. To be implemented for a store that is to be simulated.

    Its store must not wait for anything but the loop: no threads, no files, no time but the clock's.
    """

    def open_store(self, clock: Clock) -> QueueStore:
        """A store for a process that starts now; `open` is called on it."""

    def fail_next_commit(self, *, in_doubt: bool) -> None:
        """The next commit must raise. In doubt: all of it may be there after a crash, unless another commit succeeds before."""

    def crash(self, random: Random) -> None:
        """The process has died, and with it what its store held in memory."""

    def rows(self, seqs: Sequence[int] | None = None) -> list[Row]:
        """These messages, or all, as a process that starts now would find them."""


class _Connection(sqlite3.Connection):
    """A database in memory whose COMMIT can fail."""

    failing: bool = False
    in_doubt: bool = False
    image: bytes | None = None
    """All of the database as the failed commit would have made it."""

    # the parent's signature: parameters are of any shape
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        if sql == "COMMIT":
            if self.failing:
                self.failing = False
                self.image = self.serialize() if self.in_doubt else self.image
                error = sqlite3.OperationalError("disk I/O error")
                if self.in_doubt:
                    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
                raise error
            self.image = None
        return super().execute(sql, parameters)


class _File:
    """As `medagent.queue.sqlite.file.QueueFile`, at once instead of on a thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def open(self) -> None:
        bring_up_to_date(self._connection)

    def check_in_place(self) -> None:
        """It is always there."""

    def committed(self) -> None: ...

    def look(self) -> None: ...

    def checkpoint(self, connection: sqlite3.Connection) -> None: ...

    async def run(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return function(self._connection)

    async def close(self) -> None: ...


class _Store(SqliteStore):
    """The real store, its SQL and its books, on a database in memory, without files beside it."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        super().__init__(Path("nowhere/queue.db"), clock=clock)
        self._file = cast(QueueFile, _File(connection))

    async def open(self) -> int:
        return await self._open_file()


class SqliteDisk:
    """A `Disk` for `medagent.queue.sqlite.store.SqliteStore`."""

    def __init__(self) -> None:
        self._connection = _connect()

    def open_store(self, clock: Clock) -> QueueStore:
        return _Store(self._connection, clock)

    def fail_next_commit(self, *, in_doubt: bool) -> None:
        self._connection.failing, self._connection.in_doubt = True, in_doubt

    def crash(self, random: Random) -> None:
        self._connection.failing = False
        image, self._connection.image = self._connection.image, None
        if image is not None and random.random() < 0.5:
            self._connection.close()
            self._connection = _connect()
            self._connection.deserialize(image)

    def rows(self, seqs: Sequence[int] | None = None) -> list[Row]:
        if seqs is None:
            found = self._connection.execute(SELECT).fetchall()
        else:
            found = [row for seq in seqs for row in self._connection.execute(SELECT + "WHERE m.seq = ?", (seq,))]
        return [Row(row[0], row[1], row[2], row[3], row[4], State(row[5]), row[6], row[7]) for row in found]

    def close(self) -> None:
        self._connection.close()


def _connect() -> _Connection:
    return sqlite3.connect(":memory:", isolation_level=None, factory=_Connection)
