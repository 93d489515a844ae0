"""Frames of the low-level protocol (ASTM E1381, CLSI LIS01-A2): written, and read back from any split of bytes. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

STX, ETX, EOT, ENQ, ACK, LF, CR, NAK, ETB = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0A, 0x0D, 0x15, 0x17

OVERHEAD = 7
"""Bytes of a frame that are not text: STX, the number, ETX or ETB, two of the checksum, CR, LF."""
SHORT_FRAME = 247
"""Longest frame of E1381, bytes: 240 of text."""
LONGEST_FRAME = 64_000
"""Longest frame of LIS01-A2, bytes."""

_OUTSIDE = re.compile(rb"[\x02\x04\n]")
_INSIDE = re.compile(rb"[\x02\x03\x04\x17]")
_FORBIDDEN = re.compile(rb"[\x01-\x06\x0a\x10-\x17]")
_TRAILER = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose form is right."""

    number: int
    """0 to 7."""
    text: bytes
    last: bool
    """It ends with ETX, so it is the last one of a text; ETB says that more of the text follows."""
    good: bool = True
    """The checksum is that of the frame."""

    def is_repeated_by(self, next_one: Frame) -> bool:
        """Whether the next frame is this one sent again; another text under the same number is not, if both are undamaged."""
        same_text = (next_one.text, next_one.last) == (self.text, self.last)
        return next_one.number == self.number and (same_text or not (self.good and next_one.good))


@dataclass(frozen=True, slots=True)
class Damage:
    """The end of something that is no frame: one negative acknowledgment is due."""


@dataclass(frozen=True, slots=True)
class EndOfTransmission:
    """EOT."""


Item = Frame | Damage | EndOfTransmission


def checksum(data: bytes) -> bytes:
    """Of everything from the frame's number to its ETX or ETB: the sum modulo 256 in two hexadecimal digits."""
    return b"%02X" % (sum(data) % 256)


def encode(number: int, text: bytes, *, last: bool) -> bytes:
    """One frame; its number is taken modulo 8."""
    summed = b"%d%s%c" % (number % 8, text, ETX if last else ETB)
    return b"%c%s%s\r\n" % (STX, summed, checksum(summed))


def encode_texts(texts: Sequence[bytes], longest: int = SHORT_FRAME) -> list[bytes]:
    """The frames of a transmission, numbered from 1; a text that does not fit into `longest` bytes is split.

    Raises `ValueError` for a text with characters that the protocol keeps for itself.
    """
    room = longest - OVERHEAD
    frames: list[bytes] = []
    for text in texts:
        if _FORBIDDEN.search(text):
            raise ValueError("a control character of the protocol inside a text")
        parts = [text[start : start + room] for start in range(0, len(text), room)] or [b""]
        frames += [encode(len(frames) + index, part, last=index == len(parts)) for index, part in enumerate(parts, 1)]
    return frames


class FrameReader:
    """Finds frames in what a sender sends between ENQ and EOT. Never raises, and holds no more than one frame.

    A frame begins anew at each STX, since that cannot be in a text: a frame that was cut off does not harm the next.
    """

    def __init__(self, longest: int = LONGEST_FRAME) -> None:
        self._longest = longest - OVERHEAD + 1
        self._body = bytearray()
        """Of the frame begun: its number and text, and what ends them."""
        self._trailer = bytearray()
        """Of the frame begun: what has come behind ETX or ETB."""
        self._inside = False
        self._too_long = False
        self._junk = False
        """Something else than CR and LF has come since the last frame."""

    @property
    def inside(self) -> bool:
        """A frame has begun and not ended."""
        return self._inside

    @property
    def held(self) -> int:
        """Bytes kept of it."""
        return len(self._body)

    def take(self, data: bytes, start: int = 0) -> tuple[Item | None, int]:
        """Read from `start` to the end of the next item; gives it, or None if none has ended, and where to go on."""
        while start < len(data):
            if not self._inside:
                item, start = self._outside(data, start)
            elif not self._body or self._body[-1] not in (ETX, ETB):
                item, start = self._text(data, start)
            else:
                item, start = self._end(data[start]), start + 1
            if item is not None:
                return item, start
        return None, start

    def _outside(self, data: bytes, start: int) -> tuple[Item | None, int]:
        found = _OUTSIDE.search(data, start)
        end = found.start() if found else len(data)
        self._junk = self._junk or bool(data[start:end].strip(b"\r"))
        if found is None:
            return None, end
        return self._special(data[end]), end + 1

    def _special(self, byte: int) -> Item | None:
        """STX, EOT, or LF, which ends what is no frame."""
        damage = self._junk and byte == LF
        self._junk = False
        self._forget()
        if byte == STX:
            self._inside = True
        return EndOfTransmission() if byte == EOT else Damage() if damage else None

    def _text(self, data: bytes, start: int) -> tuple[Item | None, int]:
        found = _INSIDE.search(data, start)
        end = found.start() if found else len(data)
        self._too_long = self._too_long or len(self._body) + end - start > self._longest
        if not self._too_long:
            self._body += data[start:end]
        if found is None:
            return None, end
        byte = data[end]
        if byte in (STX, EOT):
            return self._special(byte), end + 1
        self._body.append(byte)
        return None, end + 1

    def _end(self, byte: int) -> Item | None:
        if byte in (STX, EOT):
            return self._special(byte)
        self._trailer.append(byte)
        if len(self._trailer) < _TRAILER and byte != LF:
            return None
        item = self._frame()
        self._forget()
        # what is no frame ends with the next LF
        self._junk = item is None
        return self._special(LF) if byte == LF and item is None else item

    def _forget(self) -> None:
        self._inside = self._too_long = False
        self._body.clear()
        self._trailer.clear()

    def _frame(self) -> Frame | None:
        if self._too_long or len(self._trailer) != _TRAILER or self._trailer[2:] != b"\r\n":
            return None
        body = bytes(self._body)
        number = body[0] - ord("0")
        if not 0 <= number <= 7:
            return None
        good = checksum(body) == bytes(self._trailer[:2]).upper()
        return Frame(number, body[1:-1], last=body[-1] == ETX, good=good)
