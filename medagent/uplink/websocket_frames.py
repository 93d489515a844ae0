"""WebSocket frames by the batch (RFC 6455, 5.2): the short way for whole text messages, which almost all frames are.

All others, and all of the rules about them, are the library's. Pure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

# it takes its place from the library's C code, where that is installed, and from Python elsewhere
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # not in its `__all__`

_FINAL = 0x80
_CONTROL = 0x08
_WHOLE_TEXT = 0x81
"""The first byte of a text message in one frame, not compressed."""
_MASKED = 0x80
_LENGTH_OF_2 = 126
_LENGTH_OF_8 = 127
_MASK_BYTES = 4


def text_frames(payloads: Sequence[bytes]) -> Iterable[bytes]:
    """The frames of a client for these text messages, each masked with bytes of its own that nobody can foresee (5.3)."""
    masks = os.urandom(_MASK_BYTES * len(payloads))
    for position, payload in enumerate(payloads):
        mask = masks[_MASK_BYTES * position : _MASK_BYTES * (position + 1)]
        size = len(payload)
        if size < _LENGTH_OF_2:
            head = bytes((_WHOLE_TEXT, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((_WHOLE_TEXT, _MASKED | _LENGTH_OF_2)) + size.to_bytes(2, "big")
        else:
            head = bytes((_WHOLE_TEXT, _MASKED | _LENGTH_OF_8)) + size.to_bytes(8, "big")
        yield head
        yield mask
        yield apply_mask(payload, mask)


class FrameCutter:
    """Takes the whole text messages out of what a server sends; the rest, to the last byte and in order, is the library's."""

    def __init__(self, max_size: int | None) -> None:
        """`max_size`: bytes of the longest message that is taken out."""
        self._max_size = max_size
        self._head = b""
        """What has come of a frame's header."""
        self._left = 0
        """Bytes that are still to come of a frame which is the library's."""
        self._fragments = False
        """A message of several frames has begun, and all frames are the library's until it ends."""

    @property
    def within(self) -> bool:
        """A part of a frame or message has come, and its end has not."""
        return bool(self._head) or self._left > 0 or self._fragments

    def give_up(self) -> bytes:
        """What the library must have before all that comes now, since it gets everything from here on."""
        head, self._head = self._head, b""
        return head

    def cut(self, data: bytes) -> Iterator[tuple[list[bytes], bytes]]:
        """The bytes of one read, in order: text messages that are whole in it, what the library is to have, more texts ..."""
        data = self._head + data if self._head else data
        self._head = b""
        length = len(data)
        texts: list[bytes] = []
        position = min(self._left, length)
        self._left -= position
        if position:
            yield texts, data[:position]
        while position < length:
            begin, size = _payload(data, position)
            if begin > length:
                self._head = data[position:]
                break
            end = begin + size
            first, masked = data[position], data[position + 1] & _MASKED
            whole = first == _WHOLE_TEXT and not (masked or self._fragments)
            if whole and end <= length and (self._max_size is None or size <= self._max_size):
                texts.append(data[begin:end])
            else:
                if not first & _CONTROL:
                    self._fragments = not first & _FINAL
                self._left = max(0, end - length)
                yield texts, data[position:end]
                texts = []
            position = end
        if texts:
            yield texts, b""


def _payload(data: bytes, position: int) -> tuple[int, int]:
    """Where a frame's payload begins, and its size; a begin beyond the end of `data` if its header is not there yet."""
    second = data[position + 1] if position + 1 < len(data) else 0
    size = second & ~_MASKED
    begin = position + 2
    if size >= _LENGTH_OF_2:
        digits = 2 if size == _LENGTH_OF_2 else 8
        size = int.from_bytes(data[begin : begin + digits], "big")
        begin += digits
    if second & _MASKED:
        begin += _MASK_BYTES
    return begin, size
