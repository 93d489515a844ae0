"""The high-water mark: the highest seq that is committed, in a file beside the queue's.

SQLite takes a damaged end of its write-ahead log for an end, and opens without a word. The mark shows what is missing then. It
has two places that are written in turn, so that a torn write leaves the other one.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

from medagent.failpoints import reach
from medagent.folders import sync_folder

MARK_NAME = "queue.mark"
_SLOT = 64
_LINE = re.compile(rb"medagent-mark seq=(\d{20}) crc=([0-9a-f]{8})\n")


class HighWater:
    """The mark of one state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MARK_NAME
        self._descriptor: int | None = None
        self._writes = 0
        self.seq = 0
        """As it is on disk."""

    def open(self) -> int:
        """Read the mark, or make one of 0. Raises `OSError`."""
        created = not self._path.exists()
        self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        data = os.pread(self._descriptor, 2 * _SLOT, 0)
        self.seq = max(_seq_of(data[:_SLOT]), _seq_of(data[_SLOT:]))
        if created:
            self._write(0)
            self._write(0)
            sync_folder(self._path.parent)
        return self.seq

    def raise_to(self, seq: int) -> None:
        """Put a higher mark on disk; a lower one changes nothing. Raises `OSError`."""
        if self._descriptor is not None and seq > self.seq:
            self._write(seq)
            self.seq = seq

    def _write(self, seq: int) -> None:
        if self._descriptor is None:
            raise ValueError("the mark is not open")
        text = b"medagent-mark seq=%020d" % seq
        line = b"%s crc=%08x\n" % (text, zlib.crc32(text))
        os.pwrite(self._descriptor, line.rjust(_SLOT, b" "), self._writes % 2 * _SLOT)
        reach("in_snapshot")
        os.fdatasync(self._descriptor)
        self._writes += 1

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _seq_of(slot: bytes) -> int:
    found = _LINE.fullmatch(slot.lstrip(b" "))
    if found is None or zlib.crc32(slot.lstrip(b" ").partition(b" crc=")[0]) != int(found[2], 16):
        return 0
    return int(found[1])
