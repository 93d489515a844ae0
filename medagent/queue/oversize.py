"""Messages that are too long for the server, seen before they are sent."""

from __future__ import annotations

import msgspec

from medagent.errors import MedagentError

MOST_BYTES_A_BYTE = 6
"""JSON spells a control character as `\\u0000`: six bytes for one."""

ADVICE = "set maxFrameBytes to what the server takes"


class TooLong(MedagentError):
    """A message that was accepted under a larger `maxFrameBytes` than the one in force."""


def encoded_size(text: str) -> int:
    """Bytes of `text` inside a JSON text."""
    return len(msgspec.json.encode(text)) - 2


def size_above(text: str, limit: int) -> int:
    """`encoded_size` if that is above `limit`, else 0; texts that are far below are not encoded for it."""
    if len(text) * MOST_BYTES_A_BYTE <= limit:
        return 0
    try:
        size = encoded_size(text)
    except UnicodeEncodeError:  # lone surrogates, each sent as one byte
        size = encoded_size(text.encode(errors="replace").decode())
    return size if size > limit else 0
