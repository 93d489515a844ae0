"""JSON as the Medplum server writes and refuses it."""

from __future__ import annotations

from typing import Any

import msgspec

# decoded JSON that nobody has validated, so its values can be anything
JsonObject = dict[str, Any]


def encode(value: object) -> str:
    """Compact JSON text, keys in the order given."""
    return msgspec.json.encode(value).decode()


def decode(text: str) -> object:
    """The decoded value. Raises `ValueError` with the words a JavaScript server uses."""
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        raise ValueError(_complaint(text)) from None
    return value


def _complaint(text: str) -> str:
    """What V8 says of a text that is not JSON; exact for the usual short ones."""
    stripped = text.lstrip(" \t\r\n")
    if not stripped:
        return "Unexpected end of JSON input"
    if stripped == "{":
        at = len(text)
        return f"Expected property name or '}}' in JSON at position {at} (line 1 column {at + 1})"
    return f"Unexpected token '{stripped[0]}', \"{text}\" is not valid JSON"
