"""Sample HL7 v2 messages about invented people, for the demo, for tests and for trying a channel out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from medagent_hl7.message import BOM, Header

_SUFFIX = ".hl7"
_LINE_END = re.compile(rb"[\r\n]")
_CONTROL_ID = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """One message as a device would send it."""

    name: str
    """Such as `adt_a01_admission`."""
    body: bytes
    """In the character set that its MSH-18 names; most segments end with CR, some samples show what else is met."""


def load() -> list[Sample]:
    """All samples, by name."""
    files = [entry for entry in resources.files(__name__).iterdir() if entry.name.endswith(_SUFFIX)]
    samples = [Sample(entry.name.removesuffix(_SUFFIX), entry.read_bytes()) for entry in files]
    return sorted(samples, key=lambda sample: sample.name)


def with_control_id(body: bytes, control_id: str) -> bytes:
    """Replace MSH-10 and keep every other byte.

    Raises `medagent_hl7.message.Hl7Error` if `body` does not begin with a usable MSH segment.
    """
    Header.parse(body)
    begin = len(BOM) if body.startswith(BOM) else 0
    line_end = _LINE_END.search(body)
    end = line_end.start() if line_end else len(body)
    separator = body[begin + 3 : begin + 4]
    # MSH-1 is the separator itself, so the second field is MSH-2
    fields = body[begin:end].split(separator)
    fields += [b""] * (_CONTROL_ID - len(fields))
    fields[_CONTROL_ID - 1] = control_id.encode("latin-1")
    return body[:begin] + separator.join(fields) + body[end:]
