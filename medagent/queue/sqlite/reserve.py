"""Space on the disk that is kept for the day it is full: then states can still be written, and the queue shrinks again."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

RESERVE_NAME = "queue.reserve"
MOST_BYTES = 8 * 1024 * 1024
"""More than the write-ahead log is allowed to grow between two checkpoints."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
_SHARE = 8
"""On a small disk the reserve is one so-manyth of what is free."""


class Reserve:
    """The reserve of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RESERVE_NAME
        self._size = 0
        """What it is to hold, once that is known."""

    def make(self) -> bool:
        """Take the space; whether the disk has it, and as much again."""
        try:
            if self._path.exists():
                self._size = self._path.stat().st_size
                return True
            size = self._size or min(MOST_BYTES, self._free() // _SHARE)
            if size == 0 or self._free() < 2 * size:
                return False
            descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                # allocated, not only named: a hole would hold no space
                os.posix_fallocate(descriptor, 0, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.free()
            # a limit on the size of files, for one, says nothing about the disk
            return error.errno not in _NO_SPACE
        self._size = size
        return True

    @property
    def needed(self) -> bool:
        """Whether the disk has less left than the reserve holds."""
        try:
            return self._path.exists() and self._free() < self._path.stat().st_size
        except OSError:
            return False

    def free(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _free(self) -> int:
        found = os.statvfs(self._path.parent)
        return found.f_bavail * found.f_frsize
