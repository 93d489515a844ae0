"""MLLP framing without I/O: bytes in, frames out (HL7 v2 transport specification, MLLP release 1).

A frame is the start block 0x0B, the data, the end block 0x1C and a carriage return 0x0D. An end block without the carriage
return is data. A start block inside a frame means that the trailer of the frame before it was lost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medagent_hl7.diagnosis import kind_of, outline

START = b"\x0b"
END = b"\x1c\r"
HEAD_BYTES = 4096
"""How much is kept of a frame that is too long: enough to read its MSH segment and to answer it."""
ENDLESS_FACTOR = 5
"""A frame of more than so many times the limit is taken for one that never ends."""

_END_BLOCK = END[0]
_BETWEEN_STARTS = re.compile(rb"[^\x0b]+")
_PADDING = b"\r\n\0"


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame; `body` is what stands between the start block and the end block."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Empty:
    """A frame without data."""


@dataclass(frozen=True, slots=True)
class Junk:
    """A run of bytes outside frames, as far as one read held it; CR, LF and NUL are padding and not counted."""

    size: int
    position: int
    """Of its first byte in the stream, from 0."""
    kind: str
    """What it looks like: see `medagent_hl7.diagnosis.kind_of`."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A frame that the start block of the next one cut short; it is dropped."""

    size: int
    position: int
    """Of its start block in the stream, from 0."""
    outline: str
    """How it begins and ends: see `medagent_hl7.diagnosis.outline`."""


@dataclass(frozen=True, slots=True)
class Oversize:
    """A frame has passed the limit; given once, as soon as that is certain. `Discarded` follows when it ends."""

    head: bytes
    """Its first `HEAD_BYTES`; the rest is dropped as it comes in."""


@dataclass(frozen=True, slots=True)
class Endless:
    """A frame that has passed the limit goes on beyond `ENDLESS_FACTOR` times the limit."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """A frame that had passed the limit has ended."""

    size: int


FrameEvent = Frame | Empty | Junk | Broken | Oversize | Endless | Discarded


def encode_frame(body: bytes) -> bytes:
    """Put `body` between the start block and the end block."""
    return START + body + END


def _find_end(data: bytes, position: int) -> int:
    """As `data.find(END, position)`. The search for one byte is many times as fast as that for two."""
    end = data.find(_END_BLOCK, position)
    return end if end < 0 or data.startswith(b"\r", end + 1) else data.find(END, end)


class FrameDecoder:
    """Cuts a stream into frames. The frames do not depend on how the stream is split into reads.

    Each byte is searched once, and no more than `max_bytes` (or `head_bytes`) and one read are held. `lenient`: an end block
    that a start block follows, or that `end_idle` finds last, ends the frame too.
    """

    def __init__(self, max_bytes: int, *, lenient: bool = False, head_bytes: int = HEAD_BYTES) -> None:
        self._head_bytes = head_bytes
        self._set_limit(max_bytes)
        self.lenient = lenient
        """May be changed, inside a frame too."""
        self._read_before = 0
        """Bytes of all reads but the one at hand."""
        self._inside = False
        self._position = 0
        self._kept = bytearray()
        """The unfinished frame's data, or its head once it is too long."""
        self._size = 0
        self._last = 0
        """The unfinished frame's last byte; if it is 0x1C, a carriage return would end the frame."""
        self._oversize = False
        self._endless = False

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._inside

    @property
    def held(self) -> int:
        """Bytes kept in memory of the unfinished frame."""
        return len(self._kept)

    @property
    def pending_size(self) -> int:
        """Bytes of the unfinished frame so far; 0 between frames."""
        return self._size

    def describe_pending(self) -> str:
        """The unfinished frame in words, without its content."""
        described = outline(bytes(self._kept), whole=not self._oversize)
        return f"{self._size} bytes since the start block at byte {self._position} of the connection, {described}"

    def feed(self, data: bytes) -> list[FrameEvent]:
        """Take the bytes of one read; return what they complete, in order."""
        events: list[FrameEvent] = []
        position = self._continue(data, events) if self._inside else 0
        length = len(data)
        while position < length:
            start = data.find(START, position)
            if start != position:
                self._report_junk(data[position:] if start < 0 else data[position:start], position, events)
                if start < 0:
                    break
            end = _find_end(data, start + 1)
            body = data[start + 1 :] if end < 0 else data[start + 1 : end]
            if end < 0 or START in body or len(body) > self._max_bytes:
                self._begin(start)
                self._append(body, start + 1, events)
                if end < 0:
                    break
                self._finish(self._size, events)
            else:
                events.append(Frame(body) if body else Empty())
            position = end + 2
        self._read_before += length
        return events

    def end_idle(self) -> list[FrameEvent]:
        """The peer has paused: end a frame that lacks only its carriage return, if the decoder is lenient."""
        events: list[FrameEvent] = []
        if self.lenient and self._last == _END_BLOCK:
            self._finish(self._size - 1, events)
        return events

    def _continue(self, data: bytes, events: list[FrameEvent]) -> int:
        """Go on with the unfinished frame; return where in `data` it ends."""
        if self._last == _END_BLOCK and data.startswith(b"\r"):
            self._finish(self._size - 1, events)
            return 1
        end = _find_end(data, 0)
        self._append(data if end < 0 else data[:end], 0, events)
        if end < 0:
            return len(data)
        self._finish(self._size, events)
        return end + 2

    def _begin(self, start: int) -> None:
        self._inside = True
        self._position = self._read_before + start

    def _append(self, data: bytes, offset: int, events: list[FrameEvent]) -> None:
        """Add data without a trailer to the unfinished frame, which a start block in it ends; `offset`: of it in the read."""
        if data and START not in data:
            self._extend(data, events)
            return
        # run by run, so that thousands of start blocks in a row cost nothing each
        for found in _BETWEEN_STARTS.finditer(data, len(data) - len(data.lstrip(START))):
            if found.start():
                self._cut_short(events)
                self._begin(offset + found.start() - 1)
            self._extend(found[0], events)
        if data.endswith(START):
            self._cut_short(events)
            self._begin(offset + len(data) - 1)

    def _extend(self, part: bytes, events: list[FrameEvent]) -> None:
        self._size += len(part)
        self._last = part[-1]
        if not self._oversize:
            self._kept += part
            if self._size > self._most_held:
                self._report_oversize(self._size, events)
        if self._size > self._endless_bytes + 1:
            self._report_endless(events)

    def _finish(self, size: int, events: list[FrameEvent]) -> None:
        """The unfinished frame has ended, with `size` bytes of data."""
        if size > self._max_bytes:
            self._report_oversize(size, events)
            if size > self._endless_bytes:
                self._report_endless(events)
            events.append(Discarded(size))
        elif size:
            events.append(Frame(bytes(memoryview(self._kept)[:size])))  # one copy, where a slice would be another
        else:
            events.append(Empty())
        self._reset()

    def _cut_short(self, events: list[FrameEvent]) -> None:
        """A start block follows the unfinished frame."""
        if self.lenient and self._last == _END_BLOCK:
            self._finish(self._size - 1, events)
            return
        if self._size > self._max_bytes:
            self._report_oversize(self._size, events)
            events.append(Discarded(self._size))
        elif self._size:
            events.append(Broken(self._size, self._position, outline(bytes(self._kept))))
        self._reset()

    def limit(self, max_bytes: int) -> None:
        """Take frames of another length from the next one on."""
        self._next_max_bytes = max_bytes
        if not self._inside:
            self._set_limit(max_bytes)

    def _set_limit(self, max_bytes: int) -> None:
        self._max_bytes = self._next_max_bytes = max_bytes
        # one byte more than the limit: the last one may turn out to be the end block
        self._most_held = max(max_bytes + 1, self._head_bytes)
        self._endless_bytes = max_bytes * ENDLESS_FACTOR

    def _reset(self) -> None:
        if self._next_max_bytes != self._max_bytes:
            self._set_limit(self._next_max_bytes)
        self._inside = False
        self._kept = bytearray()
        self._size = 0
        self._last = 0
        self._oversize = False
        self._endless = False

    def _report_oversize(self, size: int, events: list[FrameEvent]) -> None:
        if not self._oversize:
            self._oversize = True
            del self._kept[min(size, self._head_bytes) :]
            events.append(Oversize(bytes(self._kept)))

    def _report_endless(self, events: list[FrameEvent]) -> None:
        if not self._endless:
            self._endless = True
            events.append(Endless())

    def _report_junk(self, run: bytes, start: int, events: list[FrameEvent]) -> None:
        junk = run.translate(None, _PADDING)
        if junk:
            events.append(Junk(len(junk), self._read_before + start, kind_of(junk)))
