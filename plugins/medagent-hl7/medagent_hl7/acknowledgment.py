"""The acknowledgment of a message, as bytes (HL7 v2.5.1, chapters 2.9 and 2.13). Pure functions."""

from __future__ import annotations

import itertools
import time
from functools import lru_cache

from medagent_hl7 import charset
from medagent_hl7.framing import END, START
from medagent_hl7.message import Header

REQUIRED_FIELD_MISSING = 101
DATA_TYPE_ERROR = 102
DUPLICATE_KEY = 205
INTERNAL_ERROR = 207
_TEXT_BY_ERROR = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    204: "Unknown key identifier",
    205: "Duplicate key identifier",
    206: "Application record locked",
    207: "Application internal error",
}
"""Table 0357."""
_DEFAULT_VERSION = "2.5"
_ISO_2022 = b"\x0e\x0f\x1b"
_CONTROLS = bytes(each for each in range(32) if each not in _ISO_2022 + b"\r")
_LONGEST_KEPT = 1000
"""Characters of the fields of a header that are remembered: a field may be as long as a message."""
_TRUNCATION = 4
"""Where MSH-2 has the truncation character, from version 2.7 on."""

# the clock's start keeps it apart from those of earlier runs
_control_ids = itertools.count(time.time_ns() // 1000)


def next_control_id() -> str:
    """A control ID of our own, 16 digits: one sequence for all channels."""
    return str(next(_control_ids))


def build(
    header: Header,
    code: str,
    text: str,
    *,
    now: str,
    control_id_of_ack: str,
    error_code: int | None = None,
    error_field: int | None = None,
    codec: str = "ascii",
    short_type: bool = False,
) -> bytes:
    """Build the acknowledgment of the message with this `header`, in the sender's delimiters, echoed fields byte for byte.

    `text` holds no patient data and is written in `codec`; `now` is for MSH-7 (see `timestamp`); `control_id_of_ack` is for
    MSH-10, at most 20 characters; `error_code`, of table 0357, adds an ERR segment in the form of the message's version, which
    names the field MSH-`error_field`. With `short_type` MSH-9 is `ACK` alone.
    """
    wide = header.wide_codec
    echoed = header.echoed()
    make = _frame_of if _may_be_kept(header, echoed) else _frame_of.__wrapped__
    head, type_and_on, rest, end = make(
        header.field_separator,
        header.encoding_characters,
        echoed,
        code,
        text,
        codec if wide is None else "utf-8",
        short_type,
        error_code,
        error_field,
    )
    segments = "".join((head, now, type_and_on, control_id_of_ack, rest, header.control_id, end))
    data = without_controls(segments.encode("latin-1"))
    return data if wide is None else _widen(data.decode("utf-8", errors="replace"), wide)


def _may_be_kept(header: Header, echoed: tuple[str, ...]) -> bool:
    """Whether these fields are those of a header: where a line end is missing, the last ones are of a patient."""
    character_set = header.field(18)
    return (
        sum(map(len, echoed)) <= _LONGEST_KEPT
        and not (header.field(17) or header.field(19))
        and (not character_set or charset.codec(character_set[: charset.LONGEST_FIELD]) is not None)
    )


@lru_cache(maxsize=256)
def _frame_of(
    separator: str,
    encoding_characters: str,
    echoed: tuple[str, ...],
    code: str,
    text: str,
    codec: str,
    short_type: bool,
    error_code: int | None,
    error_field: int | None,
) -> tuple[str, str, str, str]:
    """What stands before MSH-7, between it and MSH-10, from there to MSA-2, and after that: the same for most of a sender's."""
    header = Header.of_echoed(separator, encoding_characters, echoed)
    version = header.version or _DEFAULT_VERSION
    addresses = (
        header.receiving_application,
        header.receiving_facility,
        header.sending_application,
        header.sending_facility,
    )
    message_type = "ACK" if short_type else _message_type(header, version)
    rest = ["", header.processing_id or "P", header.field(12) or _DEFAULT_VERSION]
    # country code, character set, principal language
    at_the_end = [header.field(17), header.field(18), header.field(19)]
    while at_the_end and not at_the_end[-1]:
        at_the_end.pop()
    if at_the_end:
        rest += ["", "", "", "", *at_the_end]
    written = _write(text, header, codec)
    end = f"{separator}{written}\r"
    if error_code is not None:
        end += f"{_error_segment(header, version, error_code, error_field, written)}\r"
    return (
        separator.join(("MSH", encoding_characters, *addresses, "")),
        separator.join(("", "", message_type, "")),
        separator.join(rest) + separator.join(("\rMSA", code, "")),
        end,
    )


def without_controls(segments: bytes) -> bytes:
    """Segments, each with its carriage return, whose fields hold no control characters any more.

    These can hold the bytes of the blocks of MLLP. Those that switch character sets (ISO 2022) stay.
    """
    return segments.translate(None, _CONTROLS)


def _widen(text: str, codec: str) -> bytes:
    """In UTF-16 or UTF-32; if characters come to hold the bytes of a block, all that are not ASCII become question marks."""
    data = text.encode(codec)
    if START in data or END in data:
        data = text.encode("ascii", errors="replace").decode("ascii").encode(codec)
    return data


@lru_cache(maxsize=1)
def timestamp(seconds: int) -> str:
    """A time, in whole seconds since the epoch, as HL7 writes it: local, with the offset from UTC."""
    return time.strftime("%Y%m%d%H%M%S%z", time.localtime(seconds))


def _message_type(header: Header, version: str) -> str:
    _, trigger, structure, *_ = [*header.components(9), "", ""]
    if not trigger:
        return "ACK"
    component = header.component_separator
    if structure or _is_at_least(version, 2, 4):
        return f"ACK{component}{trigger}{component}ACK"
    return f"ACK{component}{trigger}"


def _error_segment(header: Header, version: str, error_code: int, error_field: int | None, text: str) -> str:
    """ERR-2, 3, 4 and 8 from version 2.5 on, before that ERR-1 (HL7 v2.5.1, chapter 2.15.5)."""
    separator, component, sub = header.field_separator, header.component_separator, header.subcomponent_separator
    name = _TEXT_BY_ERROR[error_code]
    location = component.join(("MSH", "1", str(error_field))) if error_field is not None else ""
    if _is_at_least(version, 2, 5):
        error = component.join((str(error_code), name, "HL70357"))
        return separator.join(("ERR", "", location, error, "E", "", "", "", text))
    error = sub.join((str(error_code), name, "HL70357"))
    return separator.join(("ERR", component.join((location or component * 2, error))))


def _is_at_least(version: str, major: int, minor: int) -> bool:
    """Whether a version such as `2.5.1` is `major.minor` or later; one that cannot be read is not."""
    parts = version.split(".")
    try:
        return (int(parts[0]), int(parts[1])) >= (major, minor)
    except (IndexError, ValueError):
        return False


def _write(text: str, header: Header, codec: str) -> str:
    """Text as a field holds it, each byte a character: delimiters become escape sequences, control characters spaces.

    See HL7 v2.5.1, chapter 2.7.1.
    """
    if text.isascii() and text.replace(" ", "").isalnum():
        return text
    escape = header.escape_character
    sequences = {
        escape: "E",
        header.field_separator: "F",
        header.component_separator: "S",
        header.repetition_separator: "R",
        header.subcomponent_separator: "T",
    }
    if len(header.encoding_characters) > _TRUNCATION:
        sequences.setdefault(header.encoding_characters[_TRUNCATION], "P")
    written = []
    for character in text:
        if character in sequences:
            written.append(f"{escape}{sequences[character]}{escape}")
        elif character.isascii():
            written.append(character if character >= " " else " ")
        else:
            written.append(character.encode(codec, errors="replace").decode("latin-1"))
    return "".join(written)
