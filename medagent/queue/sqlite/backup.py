"""A copy of the queue file: of one that nobody holds through SQLite, of one in use byte by byte.

A running agent writes to its write-ahead log only, while it is asked to keep the file as it is: so another process can copy the
file at leisure, and messages go on being stored. What is copied is the queue as it was when the agent was asked.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medagent.errors import QueueError
from medagent.folders import sync_folder
from medagent.queue.sqlite.statements import crc_of, readable

HOLD_SECONDS = 10.0
"""How long the agent keeps its file as it is; to be asked for again before that is over."""
_CHUNK = 4 * 1024 * 1024
_PAGES = 1000
Progress = Callable[[int, int], None]
"""Called with the bytes done and their total."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy holds."""

    messages: int
    live: int
    changed: int
    """Messages that are not what was stored: the original has them so."""
    size: int
    """Bytes."""


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write, 0600 from birth, that gets its name when it is whole and on the disk. Raises `QueueError`."""
    part = path.with_name(path.name + ".part")
    if path.exists():
        raise QueueError(f"{path} is there already: give another name")
    try:
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise QueueError(f"{part} is there already: another backup is running, or delete it") from None
    except OSError as error:
        raise QueueError(f"cannot write {part}: {error.strerror}") from error
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_bytes(source: Path, target: Path, renew: Callable[[], None], progress: Progress) -> None:
    """Copy a file that does not change meanwhile; `renew` is called at least once a chunk. Raises `OSError`."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        total, done = os.fstat(reader.fileno()).st_size, 0
        while chunk := reader.read(min(_CHUNK, total - done)):
            writer.write(chunk)
            done += len(chunk)
            renew()
            progress(done, total)


def copy_at_rest(source: Path, target: Path, progress: Progress) -> None:
    """Copy a queue that no agent holds: the caller has the lock. Raises `sqlite3.Error`."""
    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=0)) as reader,
        contextlib.closing(sqlite3.connect(target)) as writer,
    ):
        reader.execute("PRAGMA locking_mode = EXCLUSIVE")
        size = reader.execute("PRAGMA page_size").fetchone()[0]
        step: Callable[[int, int, int], None] = lambda _, left, total: progress((total - left) * size, total * size)  # noqa: E731
        reader.backup(writer, pages=_PAGES, progress=step)


def verify(path: Path) -> Copied:
    """Look at every message of a copy. Raises `QueueError` if it cannot be used."""
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.text_factory = readable
            # a file of its own, without a log beside it
            connection.execute("PRAGMA journal_mode = DELETE")
            if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
                again = "try again; if it is so again, so is the queue, and its agent reads it anew when it is restarted"
                raise QueueError(f"the copy is damaged: {again}")
            messages = live = changed = 0
            rows = "SELECT seq, channel, control_id, callback, state, crc, data FROM message LEFT JOIN body USING (seq)"
            for seq, channel, control_id, callback, state, crc, body in connection.execute(rows):
                messages += 1
                live += state < 10
                changed += crc is not None and crc != crc_of(seq, channel, control_id, callback, body or b"")
    except sqlite3.Error as error:
        raise QueueError(f"the copy cannot be read ({error.sqlite_errorname})") from error
    return Copied(messages, live, changed, path.stat().st_size)
