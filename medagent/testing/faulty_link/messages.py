"""Where the messages of a WebSocket begin and end in one direction of a connection (RFC 6455, 5.2). Pure, no I/O.

The upgrade comes first. A connection without one, such as a plain HTTP request, has no messages.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

_HEAD_BYTES = 65_536
"""A longer HTTP head is taken for something else."""
_FIN, _OPCODE, _MASKED, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_CONTINUATION, _FIRST_CONTROL = 0x0, 0x8


class Piece(NamedTuple):
    """Bytes that came in one read and belong together: of one frame, or of what is no frame."""

    data: bytes
    begins: bool = False
    """Its first byte is the first of a message."""
    ends: bool = False
    """Its last byte is the last of a message."""


class _State(enum.Enum):
    HEAD = enum.auto()
    FRAMES = enum.auto()
    OTHER = enum.auto()


class Messages:
    """Splits what passes at the borders of messages, and holds nothing back."""

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._head = bytearray()
        """Of HTTP, or of the frame at hand as far as it has come."""
        self._left = 0
        """Bytes of the frame at hand that are still to come, once its head is complete."""
        self._in_frame = False
        """The head of the frame at hand is complete, and not all of its payload has come."""

    def feed(self, data: bytes) -> list[Piece]:
        """The same bytes, split."""
        if self._state is _State.OTHER:
            return [Piece(data)]
        if self._state is _State.HEAD:
            return self._feed_head(data)
        pieces = []
        position = 0
        while position < len(data):
            piece = self._frame(data, position)
            position += len(piece.data)
            pieces.append(piece)
        return pieces

    def _feed_head(self, data: bytes) -> list[Piece]:
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _HEAD_BYTES:
                self._state = _State.OTHER
            return [Piece(data)]
        head = bytes(self._head[:end]).lower()
        self._head.clear()
        # a refusal may name the header too
        upgraded = head.startswith(b"http/1.1 101") if head.startswith(b"http/") else b"\nupgrade: websocket" in head
        self._state = _State.FRAMES if upgraded else _State.OTHER
        rest = end + 4 - before
        return [Piece(data[:rest]), *self.feed(data[rest:])] if rest < len(data) else [Piece(data)]

    def _frame(self, data: bytes, start: int) -> Piece:
        """What there is of one frame from index `start` on."""
        position = start
        begins = not self._in_frame and not self._head and _opcode_begins(data[start])
        while not self._in_frame and position < len(data):
            self._head.append(data[position])
            position += 1
            if len(self._head) >= 2 and len(self._head) == _head_length(self._head):
                self._in_frame = True
                self._left = _payload_length(self._head)
        if self._in_frame:
            taken = min(self._left, len(data) - position)
            position += taken
            self._left -= taken
        ends = False
        if self._in_frame and not self._left:
            ends = bool(self._head[0] & _FIN) and self._head[0] & _OPCODE < _FIRST_CONTROL
            self._in_frame = False
            self._head.clear()
        return Piece(data[start:position], begins, ends)


def _opcode_begins(first: int) -> bool:
    return _CONTINUATION < first & _OPCODE < _FIRST_CONTROL


def _head_length(head: bytearray) -> int:
    """Of a frame, from its first two bytes."""
    extended = {126: 2, 127: 8}.get(head[1] & _LENGTH, 0)
    return 2 + extended + (4 if head[1] & _MASKED else 0)


def _payload_length(head: bytearray) -> int:
    short = head[1] & _LENGTH
    if short < 126:
        return short
    return int.from_bytes(head[2 : 4 if short == 126 else 10], "big")
