"""Frames of a ward monitor, such as `$17,temperature,37.2*72`. Without I/O."""

from __future__ import annotations

from functools import reduce
from operator import xor


def checksum(content: bytes) -> bytes:
    """All bytes of the content, exclusive or, as two hexadecimal digits."""
    return b"%02X" % reduce(xor, content, 0)


def content_of(frame: bytes) -> bytes:
    """What stands between `$` and `*`. Raises `ValueError` if it is no frame."""
    content = frame[1:-3]
    if frame != b"$" + content + b"*" + checksum(content):
        raise ValueError("no frame, or its checksum is wrong")
    return content
