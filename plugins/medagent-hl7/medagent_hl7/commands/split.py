"""A file of HL7 v2 messages, cut into messages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medagent_hl7.message import BOM, Hl7Error

_LINES = re.compile(rb"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_MLLP = b"\x0b\x1c"
_BATCH_SEGMENTS = (b"FHS", b"BHS", b"BTS", b"FTS")


@dataclass(frozen=True, slots=True)
class Split:
    """What a file holds."""

    messages: list[bytes]
    """Each begins with MSH, or with a byte order mark before it, and ends as in the file."""
    batch_segments: list[str]
    """Names of the batch segments (HL7 v2.5.1, chapter 2.10.3) that were left out, in order."""


def split(data: bytes) -> Split:
    """Cut at each MSH that begins a line; line ends stay as they are, MLLP blocks and blank lines at the ends go.

    Raises `medagent_hl7.message.Hl7Error` if there is no message, or something else before the first.
    """
    found = Split([], [])
    lines: list[bytes] = []
    for raw in _LINES.findall(data):
        line = raw.translate(None, _MLLP)
        name = line.removeprefix(BOM)[:3]
        if name in _BATCH_SEGMENTS:
            found.batch_segments.append(name.decode())
        elif name == b"MSH":
            _finish(lines, found)
            lines = [line]
        elif lines:
            lines.append(line)
        elif line.strip():
            raise Hl7Error(100, "The file does not begin with an MSH segment")
    _finish(lines, found)
    if not found.messages:
        raise Hl7Error(100, "The file holds no MSH segment")
    return found


def _finish(lines: list[bytes], found: Split) -> None:
    while lines and not lines[-1].strip():
        lines.pop()
    if lines:
        found.messages.append(b"".join(lines))
