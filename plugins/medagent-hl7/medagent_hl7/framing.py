"""MLLP framing without I/O: bytes in, frames out (HL7 v2 transport specification, MLLP release 1).

A frame is the start block 0x0B, the data, the end block 0x1C and a carriage return 0x0D. An end block without the carriage
return is data. A start block inside a frame means that the trailer of the frame before it was lost.
"""

from __future__ import annotations

from dataclasses import dataclass

START = b"\x0b"
END = b"\x1c\r"
HEAD_BYTES = 4096
"""How much is kept of a frame that is too long: enough to read its MSH segment and to answer it."""

_PADDING = b"\r\n\0"
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t"


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
    printable: bool
    """Only printable ASCII: a peer that speaks HL7 without MLLP, or another text protocol."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A frame that was cut short by the start block of the next one; its `size` bytes are dropped."""

    size: int


@dataclass(frozen=True, slots=True)
class Oversize:
    """A frame above the limit, reported when it ends; all but its `head` was dropped as it came in."""

    head: bytes
    size: int


FrameEvent = Frame | Empty | Junk | Broken | Oversize


def encode_frame(body: bytes) -> bytes:
    """Put `body` between the start block and the end block."""
    return START + body + END


class FrameDecoder:
    """Cuts a stream into frames. The frames do not depend on how the stream is split into reads.

    Each byte is searched once, and no more than `max_bytes` (or `HEAD_BYTES`) and one read are held.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._inside = False
        self._kept = bytearray()
        """The unfinished frame's data, or its head once it is too long."""
        self._size = 0
        self._end_block_pending = False
        """The unfinished frame's last byte is 0x1C: a carriage return would end it."""

    @property
    def pending_size(self) -> int:
        """Bytes of the unfinished frame so far; 0 between frames."""
        return self._size

    def feed(self, data: bytes) -> list[FrameEvent]:
        """Take the bytes of one read; return what they complete, in order."""
        events: list[FrameEvent] = []
        position = self._continue(data, events) if self._inside else 0
        length = len(data)
        while position < length:
            start = data.find(START, position)
            if start != position:
                _report_junk(data[position:] if start < 0 else data[position:start], events)
                if start < 0:
                    break
            end = data.find(END, start + 1)
            if end < 0:
                self._inside = True
                self._append(data[start + 1 :], events)
                break
            body = data[start + 1 : end]
            if START in body:
                *lost, body = body.split(START)
                for part in lost:
                    self._report_lost(part, len(part), events)
            self._report_whole(body, len(body), events)
            position = end + 2
        return events

    def _continue(self, data: bytes, events: list[FrameEvent]) -> int:
        """Go on with the unfinished frame; return where in `data` it ends."""
        if self._end_block_pending and data.startswith(b"\r"):
            self._size -= 1
            position = 1
        else:
            end = data.find(END)
            self._append(data if end < 0 else data[:end], events)
            if end < 0:
                return len(data)
            position = end + 2
        self._report_whole(bytes(self._kept[: self._size]), self._size, events)
        self._reset()
        self._inside = False
        return position

    def _append(self, data: bytes, events: list[FrameEvent]) -> None:
        """Add data without a trailer to the unfinished frame, which a start block in it ends."""
        parts = data.split(START)
        for index, part in enumerate(parts):
            if index:
                self._report_lost(bytes(self._kept), self._size, events)
                self._reset()
            if part:
                self._size += len(part)
                self._end_block_pending = part.endswith(b"\x1c")
                # one byte more than the limit: it may turn out to be the end block
                if self._size <= self._max_bytes + 1:
                    self._kept += part
                else:
                    self._kept += part[: max(0, HEAD_BYTES - len(self._kept))]
                    del self._kept[HEAD_BYTES:]

    def _reset(self) -> None:
        self._kept = bytearray()
        self._size = 0
        self._end_block_pending = False

    def _report_whole(self, body: bytes, size: int, events: list[FrameEvent]) -> None:
        if size > self._max_bytes:
            events.append(Oversize(body[:HEAD_BYTES], size))
        elif size:
            events.append(Frame(body))
        else:
            events.append(Empty())

    def _report_lost(self, body: bytes, size: int, events: list[FrameEvent]) -> None:
        if size > self._max_bytes:
            events.append(Oversize(body[:HEAD_BYTES], size))
        elif size:
            events.append(Broken(size))


def _report_junk(run: bytes, events: list[FrameEvent]) -> None:
    junk = run.translate(None, _PADDING)
    if junk:
        events.append(Junk(len(junk), printable=not junk.translate(None, _PRINTABLE)))
