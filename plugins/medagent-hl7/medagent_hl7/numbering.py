"""Sequence numbers in messages: MSH-13 of what is forwarded, MSA-4 of what is answered. Pure functions."""

from __future__ import annotations

import re

_SEQUENCE_NUMBER = 13
_EXPECTED = 4
_MSA = re.compile(rb"\rMSA([^\r\n]*)")
WIDEST = 2**63 - 1
"""Stands for a number that is not known yet."""


def with_sequence_number(text: str, number: int) -> str:
    """Put `number` into MSH-13 of a message with CR between its segments, and keep everything else."""
    segment, line_end, rest = text.partition("\r")
    separator = segment[3:4]
    if not separator:
        return text
    # MSH-1 is the separator itself, so MSH-n is the field before the nth separator
    fields = segment.split(separator)
    fields += [""] * (_SEQUENCE_NUMBER - len(fields))
    fields[_SEQUENCE_NUMBER - 1] = str(number)
    return separator.join(fields) + line_end + rest


def with_expected_number(frame: bytes, number: int) -> bytes:
    """Put `number` into MSA-4 of an acknowledgment, framed or not; unchanged without an MSA that reads as ASCII."""
    found = _MSA.search(frame)
    if found is None:
        return frame
    separator = found[1][:1]
    if not separator:
        return frame
    fields = found[1].split(separator)
    fields += [b""] * (_EXPECTED + 1 - len(fields))
    fields[_EXPECTED] = str(number).encode()
    return frame[: found.start(1)] + separator.join(fields) + frame[found.end(1) :]


def has_content(body: bytes) -> bool:
    """Whether anything is said beyond the MSH segment: some field of a later one is not empty."""
    separator = body[body.find(b"MSH") + 3 :][:1]
    _, *others = re.split(rb"[\r\n]+", body)
    return any(segment[3:].strip(separator + b" ^~\\&") for segment in others)
