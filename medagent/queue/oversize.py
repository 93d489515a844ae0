"""Messages that are too long for the server: seen before they are sent, or found by how the server ends the connection."""

from __future__ import annotations

import msgspec

from medagent.errors import MedagentError

USUAL_LIMIT = 1_048_576
"""Bytes of a frame that a Medplum server takes unless it is configured otherwise (its `maxJsonSize`)."""
LOSSES_OF_LARGE = 3
"""How often a message above `USUAL_LIMIT` may end the connection once it is known to be dangerous; then it is given up."""
MOST_BYTES_A_BYTE = 6
"""JSON spells a control character as `\\u0000`: six bytes for one."""

ADVICE = "set maxFrameBytes to what the server takes"
LOST_LARGE = f"the connection was lost each time while this message was alone on its way, and it is long: {ADVICE}"


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
