"""Getting out of a damaged queue file what can be read: by its trees as far as they lead, then page by page."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medagent.queue.sqlite.file import MAGIC
from medagent.queue.sqlite.insertion import digest_of
from medagent.queue.sqlite.pages import PAGE_BYTES, scan
from medagent.queue.sqlite.schema import APPLICATION_ID, SCHEMA_VERSION
from medagent.queue.sqlite.sizes import LIVE_BYTES_REGISTER
from medagent.queue.sqlite.statements import crc_of, readable
from medagent.queue.sqlite.transaction import transaction
from medagent.types import State

_FARTHEST_STEP = 2**40
_TREE_PAGES = (0x05, 0x0D)
_LARGEST = 2**42
_MOST_GAPS = 5

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
    from_pages: int = 0
    """Of the saved: those that no tree led to."""

    gaps: list[str] = field(default_factory=list)
    """Where the most messages may be missing between two that were saved, in words."""

    def __str__(self) -> str:
        of = f" of {self.expected}" if self.expected is not None else ""
        changed = f"; {self.changed} had changed and are left there" if self.changed else ""
        gaps = f"; some may be missing between {', '.join(self.gaps)}" if self.gaps else ""
        return f"{self.saved}{of} messages were saved{changed}{gaps}"


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
    # this transaction is as large as the queue
    target.execute("PRAGMA cache_spill = ON")
    with transaction(target):
        with contextlib.closing(sqlite3.connect(source, isolation_level=None, timeout=0)) as damaged:
            damaged.text_factory = readable
            _copy(damaged, target, found)
        if found.expected is None or found.saved < found.expected:
            _read_pages(source, target, found)
            found.gaps = _gaps(target)
        found.changed = max(0, found.changed - found.from_pages)
        target.execute("INSERT INTO counter (channel, state, count) SELECT channel, state, count(*) FROM message GROUP BY 1, 2")
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
        if not head.startswith(MAGIC):
            source.with_name(source.name + "-header.as-found").write_bytes(head[:100])
            pages = max(1, size // PAGE_BYTES)
            sizes = struct.pack(">16sHBBBBBBII", MAGIC, PAGE_BYTES, 2, 2, 0, 64, 32, 32, 1, pages)
            # no free pages, schema format 4, UTF-8, incremental vacuum; SQLite takes the rest as it is zero
            rest = struct.pack(">IIIIIIIIII20sII", 0, 0, 1, 4, 0, 1, 1, SCHEMA_VERSION, 1, APPLICATION_ID, b"", 1, 0)
            file.seek(0)
            file.write(sizes + rest)
            head = sizes + rest
        pages = int.from_bytes(head[28:32], "big") * PAGE_BYTES
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
    for row in _readable(damaged, select):
        if not _is_sound(row):
            found.changed += 1
            continue
        found.saved += _insert(target, row)
    with contextlib.suppress(sqlite3.Error):
        # the sum of what is live is made anew, of what was saved
        select = "SELECT channel, name, value FROM register WHERE name <> ?"
        registers = damaged.execute(select, (LIVE_BYTES_REGISTER,)).fetchall()
        target.executemany("INSERT OR IGNORE INTO register (channel, name, value) VALUES (?, ?, ?)", registers)


# a row of a damaged file: of any shape
def _insert(target: sqlite3.Connection, row: tuple[Any, ...]) -> bool:
    """Store a sound row with its body; whether it was not there yet."""
    # only names of this module are put into it
    insert = f"INSERT OR IGNORE INTO message ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
    if not target.execute(insert, row[:-1]).rowcount:
        return False
    target.execute("INSERT INTO body (seq, data) VALUES (?, ?)", (row[0], row[-1]))
    return True


def _read_pages(source: Path, target: sqlite3.Connection, found: Salvaged) -> None:
    """Save what no tree leads to. Of several rows of one message, which pages in disuse may hold, the latest counts."""
    rows: dict[int, tuple[Any, ...]] = {}
    first_version = len(_COLUMNS) - len(_LATER)
    for seq, values in scan(source):
        if len(values) not in (first_version, len(_COLUMNS)) or values[0] is not None:
            continue
        row = (seq, *values[1:], *(0, None)[: len(_COLUMNS) - len(values)])
        if (seq not in rows or _changed_at(row) >= _changed_at(rows[seq])) and not _has(target, seq):
            rows[seq] = row
    for seq, values in scan(source):
        if len(values) == 2 and values[0] is None and seq in rows and _is_sound((*rows[seq], values[1])):
            saved = _insert(target, (*rows.pop(seq), values[1]))
            found.saved += saved
            found.from_pages += saved


def _has(target: sqlite3.Connection, seq: int) -> bool:
    return target.execute("SELECT 1 FROM message WHERE seq = ?", (seq,)).fetchone() is not None


def _changed_at(row: tuple[Any, ...]) -> float:
    found = row[_COLUMNS.index("changed_at")]
    return float(found) if isinstance(found, int | float) else 0.0


def _gaps(target: sqlite3.Connection) -> list[str]:
    """The widest, in order: a seq may also be missing because its message was a resend, or was deleted long ago."""
    widest = target.execute(
        "SELECT * FROM (SELECT lag(seq) OVER (ORDER BY seq) AS before, lag(accepted_at) OVER (ORDER BY seq), seq, accepted_at"
        " FROM message) WHERE seq - before > 1 ORDER BY seq - before DESC LIMIT ?",
        (_MOST_GAPS,),
    ).fetchall()
    return [f"seq {low} ({_clock(since)}) and {high} ({_clock(until)})" for low, since, high, until in sorted(widest)]


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


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
    if values["digest"] != digest_of(body):
        return False
    numbers = [values["accepted_at"], values["attempts"], 0 if values["next_attempt_at"] is None else values["next_attempt_at"]]
    if not all(isinstance(number, int | float) for number in numbers):
        return False
    crc = values["crc"]
    return crc is None or crc == crc_of(values["seq"], values["channel"], values["control_id"], values["callback"], body)
