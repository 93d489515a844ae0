"""A queue file that cannot be used: it is moved aside, and what can be read of it becomes a new one.

A folder in `quarantine` that is marked as pending has been moved aside and not read yet: a crash in between loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medagent.queue.folders import sync_folder
from medagent.queue.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION, UnknownFile
from medagent.queue.sqlite.sizes import LIVE_BYTES_REGISTER
from medagent.queue.sqlite.statements import crc_of
from medagent.types import State

QUARANTINE_NAME = "quarantine"
_PENDING = "pending"
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_CODES = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}
_FARTHEST_STEP = 2**40
_MAGIC = b"SQLite format 3\0"
_PAGE_BYTES = 4096
_TREE_PAGES = (0x05, 0x0D)
_LARGEST = 2**42
_BATCH = 500

_COLUMNS = (
    "seq",
    "channel",
    "control_id",
    "digest",
    "copy",
    "state",
    "attempts",
    "accepted_at",
    "changed_at",
    "next_attempt_at",
    "status_code",
    "remote",
    "link",
    "callback",
    "response",
    "error",
    "number",
    "sender",
    "crc",
)
_LATER = {"sender": "0", "crc": "NULL"}
"""Columns that a file of version 1 does not have, and what stands for them."""
_REQUIRED = {
    "seq": int,
    "channel": str,
    "control_id": str,
    "digest": int,
    "copy": int,
    "callback": str,
    "remote": str,
    "link": str,
}


@dataclass(slots=True)
class Salvaged:
    """What was got out of a damaged file."""

    saved: int = 0
    changed: int = 0
    """Messages that are not what was stored, and were left out."""
    expected: int | None = None
    """How many messages the file's own counters speak of; None if they cannot be read."""

    def __str__(self) -> str:
        of = f" of {self.expected}" if self.expected is not None else ""
        changed = f"; {self.changed} had changed and are left there" if self.changed else ""
        return f"{self.saved}{of} messages were saved{changed}"


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file itself cannot be used, and not that the disk or another process is in the way."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if isinstance(error, UnknownFile) or any(name.startswith(code) for code in _CODES):
        return True
    # a table or column that is not there
    return isinstance(error, sqlite3.OperationalError) and name == "SQLITE_ERROR"


def move_aside(path: Path) -> Path:
    """Move a queue file, or whatever is in its place, into a folder of its own in `quarantine`; returns that folder."""
    quarantine = path.parent / QUARANTINE_NAME
    quarantine.mkdir(mode=0o700, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (stamp if number == 1 else f"{stamp}-{number}" for number in range(1, 10_000))
    folder = next(quarantine / name for name in names if not (quarantine / name).exists())
    folder.mkdir(mode=0o700)
    descriptor = os.open(folder / _PENDING, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    os.fsync(descriptor)
    os.close(descriptor)
    for companion in reversed(_COMPANIONS):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + companion).rename(folder / (path.name + companion))
    for changed in (folder, quarantine, path.parent):
        sync_folder(changed)
    return folder


def pending(path: Path) -> list[Path]:
    """Folders whose file has been moved aside and not been read yet, oldest first."""
    return sorted(mark.parent for mark in (path.parent / QUARANTINE_NAME).glob(f"*/{_PENDING}"))


def done(folder: Path) -> None:
    """The folder's file has been read."""
    (folder / _PENDING).unlink()
    sync_folder(folder)


def salvage(source: Path, target: sqlite3.Connection) -> Salvaged:
    """Copy what can be read of `source` into an empty queue, in one transaction; what is wrong with `source` raises nothing."""
    found = Salvaged()
    if not source.is_file():
        return found
    log = source.with_name(source.name + "-wal")
    if log.exists():
        # SQLite drops what follows a damaged frame; who examines the file later may want it
        shutil.copy(log, log.with_name(log.name + ".as-found"))
    _mend_header(source)
    target.execute("BEGIN IMMEDIATE")
    try:
        with contextlib.closing(sqlite3.connect(source, isolation_level=None, timeout=0)) as damaged:
            _copy(damaged, target, found)
        target.execute("INSERT INTO counter (channel, state, count) SELECT channel, state, count(*) FROM message GROUP BY 1, 2")
        target.execute("COMMIT")
    except BaseException:
        target.execute("ROLLBACK")
        raise
    return found


def _mend_header(source: Path) -> None:
    """Make SQLite look at a file that it refuses as a whole: one that was cut, or whose first bytes are gone.

    Every queue of medagent has the same header but for its sizes (https://sqlite.org/fileformat2.html#the_database_header).
    """
    with source.open("r+b") as file:
        head = file.read(101)
        size = file.seek(0, os.SEEK_END)
        if len(head) < 101 or head[100] not in _TREE_PAGES:
            return
        if not head.startswith(_MAGIC):
            source.with_name(source.name + "-header.as-found").write_bytes(head[:100])
            pages = max(1, size // _PAGE_BYTES)
            sizes = struct.pack(">16sHBBBBBBII", _MAGIC, _PAGE_BYTES, 2, 2, 0, 64, 32, 32, 1, pages)
            # no free pages, schema format 4, UTF-8, incremental vacuum; SQLite takes the rest as it is zero
            rest = struct.pack(">IIIIIIIIII20sII", 0, 0, 1, 4, 0, 1, 1, SCHEMA_VERSION, 1, APPLICATION_ID, b"", 1, 0)
            file.seek(0)
            file.write(sizes + rest)
            head = sizes + rest
        pages = int.from_bytes(head[28:32], "big") * _PAGE_BYTES
        if size < pages < _LARGEST:
            file.truncate(pages)


def _copy(damaged: sqlite3.Connection, target: sqlite3.Connection, found: Salvaged) -> None:
    columns = set()
    with contextlib.suppress(sqlite3.Error):
        damaged.execute("PRAGMA locking_mode = EXCLUSIVE")
        columns = {row[1] for row in damaged.execute("PRAGMA table_info(message)")}
        found.expected = damaged.execute("SELECT sum(count) FROM counter").fetchone()[0]
    if not columns.issuperset(set(_COLUMNS) - _LATER.keys()):
        return
    names = ", ".join(name if name in columns else f"{_LATER[name]} AS {name}" for name in _COLUMNS)
    # only names of this module are put into these
    select = f"SELECT {names}, data FROM message LEFT JOIN body USING (seq)"  # noqa: S608
    insert = f"INSERT OR IGNORE INTO message ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
    for row in _readable(damaged, select):
        if not _is_sound(row):
            found.changed += 1
            continue
        if target.execute(insert, row[:-1]).rowcount:
            target.execute("INSERT INTO body (seq, data) VALUES (?, ?)", (row[0], row[-1]))
            found.saved += 1
    with contextlib.suppress(sqlite3.Error):
        # the sum of what is live is made anew, of what was saved
        select = "SELECT channel, name, value FROM register WHERE name <> ?"
        registers = damaged.execute(select, (LIVE_BYTES_REGISTER,)).fetchall()
        target.executemany("INSERT OR IGNORE INTO register (channel, name, value) VALUES (?, ?, ?)", registers)


# rows of a damaged file: of any shape
def _readable(connection: sqlite3.Connection, select: str) -> Iterator[tuple[Any, ...]]:
    """The rows in order of seq, past those that cannot be read."""
    statement = f"{select} WHERE seq > ? ORDER BY seq"
    position: int | None = 0
    while position is not None:
        try:
            for row in connection.execute(statement, (position,)):
                yield row
                position = row[0]
            return
        except (sqlite3.Error, OverflowError, ValueError):
            position = _next_readable(connection, f"{statement} LIMIT 1", position)


def _next_readable(connection: sqlite3.Connection, statement: str, position: int) -> int | None:
    """The seq before the next one that can be read; None if there is no such."""

    def reads(after: int) -> bool | None:
        try:
            return connection.execute(statement, (after,)).fetchone() is not None or None
        except (sqlite3.Error, OverflowError, ValueError):
            return False

    step = 1
    while not (readable := reads(position + step)):
        if readable is None or step > _FARTHEST_STEP:
            return None
        step *= 2
    low, high = position + step // 2, position + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reads(middle) else (middle, high)
    return high


def _is_sound(row: tuple[Any, ...]) -> bool:
    """Whether a row can be what was stored."""
    values = dict(zip(_COLUMNS, row, strict=False))
    body = row[-1]
    if not isinstance(body, bytes) or any(not isinstance(values[name], kind) for name, kind in _REQUIRED.items()):
        return False
    if values["state"] not in {int(state) for state in State}:
        return False
    crc = values["crc"]
    return crc is None or crc == crc_of(values["seq"], values["channel"], values["control_id"], values["callback"], body)
