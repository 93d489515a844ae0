"""A queue file that cannot be used is moved aside; what can be read of it becomes a new one (`medagent.queue.sqlite.salvage`).

A folder in `quarantine` that is marked as pending has been moved aside and not read yet: a crash in between loses nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

from medagent.folders import sync_folder
from medagent.queue.sqlite.schema import UnknownFile

QUARANTINE_NAME = "quarantine"
_PENDING = "pending"
_COMPANIONS = ("", "-wal", "-shm", "-journal")
_CODES = ("SQLITE_CORRUPT", "SQLITE_NOTADB")


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file itself cannot be used, and not that the disk or another process is in the way."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if isinstance(error, UnknownFile) or any(name.startswith(code) for code in _CODES):
        return True
    # what is read at opening is not of the form that was written
    if isinstance(error, ValueError | TypeError | KeyError):
        return True
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith(("no such table", "no such column"))


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
