"""Noticing that files have been changed, by looking at them now and then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Mark = tuple[int, int, int] | None
"""Of a file: time of change in ns, size, inode; None if it cannot be looked at."""


class FileWatch:
    """Some files and how they were when they were last read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._read = self._seen = self._marks()

    def changed(self) -> bool:
        """Whether they are no longer as they were read, and the same as at the last look: nobody is just writing them.

        Once it has said so, it counts them as read.
        """
        marks = self._marks()
        steady = marks == self._seen and None not in marks
        self._seen = marks
        if marks == self._read or not steady:
            return False
        self._read = marks
        return True

    def _marks(self) -> tuple[Mark, ...]:
        return tuple(map(_mark, self._paths))


def _mark(path: Path) -> Mark:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
