"""Byte stream framing without I/O: bytes in, frames out.

A frame is everything from a start byte to the next end byte, both included. Neither can stand inside a frame, since nothing
escapes them: a start byte inside a frame means that the end of the one before was lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame, start and end byte included."""

    data: bytes


@dataclass(frozen=True, slots=True)
class TooLong:
    """A frame that has ended, and of which nothing is kept."""

    size: int
    """Bytes, start and end byte included."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A frame that the start byte of the next one has cut short; it is dropped."""

    size: int
    """Bytes, the start byte included."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A run of bytes outside frames, as far as one read held it."""

    size: int


Event = Frame | TooLong | Cut | Outside


class FrameDecoder:
    """Finds the frames of one connection."""

    def __init__(self, start: int, end: int, limit: int) -> None:
        """`limit`: most bytes of a frame, start and end byte included."""
        self.limit = limit
        """May be changed at any time."""
        self._start = start
        self._delimiter = re.compile(b"[" + re.escape(bytes([start])) + re.escape(bytes([end])) + b"]")
        self._kept = bytearray()
        """Of the unfinished frame; nothing once it is too long."""
        self._size = 0
        """Of the unfinished frame; 0 outside frames."""

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._size > 0

    @property
    def held(self) -> int:
        """Bytes kept of the unfinished frame."""
        return len(self._kept)

    def feed(self, data: bytes) -> list[Event]:
        """What these bytes complete, in order."""
        events: list[Event] = []
        outside = position = 0
        for found in self._delimiter.finditer(data):
            place = found.start()
            if data[place] == self._start:
                if not self._size:
                    outside += place - position
                else:
                    self._add(data[position:place])
                    if self._size > 1:
                        events.append(Cut(self._size))
                if outside:
                    events.append(Outside(outside))
                    outside = 0
                self._kept.clear()
                self._size = 0
                self._add(data[place : place + 1])
            elif self._size:
                self._add(data[position : place + 1])
                events.append(Frame(bytes(self._kept)) if len(self._kept) == self._size else TooLong(self._size))
                self._kept.clear()
                self._size = 0
            else:
                outside += place + 1 - position
            position = place + 1
        rest = data[position:]
        if self._size:
            self._add(rest)
        else:
            outside += len(rest)
        if outside:
            events.append(Outside(outside))
        return events

    def _add(self, data: bytes) -> None:
        # what has been too long stays so, whatever the limit has become: its beginning is gone
        whole = len(self._kept) == self._size
        self._size += len(data)
        if whole and self._size <= self.limit:
            self._kept += data
        else:
            self._kept.clear()
