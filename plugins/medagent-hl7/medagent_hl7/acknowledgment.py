"""Acknowledgments: what is owed when, and the message that says so (HL7 v2.5.1, chapters 2.9 and 2.13). Pure functions."""

from __future__ import annotations

import enum
import time
from functools import lru_cache

from medagent.types import RefusalKind
from medagent_hl7.message import Header

APPLICATION_CODES = ("AA", "AE", "AR")
INTERNAL_ERROR = 207
_TEXT_BY_ERROR = {
    100: "Segment sequence error",
    101: "Required field missing",
    200: "Unsupported message type",
    207: "Application internal error",
}
_DEFAULT_VERSION = "2.5"


class Mode(enum.Enum):
    """When a channel acknowledges: the `enhanced` parameter of its address."""

    ORIGINAL = "false"
    """The server's acknowledgment, once it has answered."""
    ENHANCED = "true"
    """A commit acknowledgment when the message is on disk, then the server's as `appLevelAck` says."""
    AA = "aa"
    """AA when the message is on disk, and nothing later."""


class AppLevelAck(enum.Enum):
    """Which application acknowledgments follow the commit acknowledgment (table 0155)."""

    AL = "AL"
    """All."""
    NE = "NE"
    """None."""
    ER = "ER"
    """Errors only: all but AA."""
    SU = "SU"
    """Success only: AA."""


def code_on_commit(mode: Mode) -> str | None:
    """The code that is owed when a message is on disk; None if nothing is."""
    return {Mode.ORIGINAL: None, Mode.ENHANCED: "CA", Mode.AA: "AA"}[mode]


def code_on_refusal(mode: Mode, kind: RefusalKind) -> str:
    """The code for a message that was not accepted: an error that may pass (CE, AE) or a rejection (CR, AR)."""
    return ("C" if mode is Mode.ENHANCED else "A") + ("E" if kind is RefusalKind.STORAGE else "R")


def owed_on_answer(mode: Mode, app_level_ack: AppLevelAck, code: str) -> bool:
    """Whether the device is to get the server's verdict of this code; only application codes are filtered."""
    if mode is not Mode.ENHANCED:
        return mode is Mode.ORIGINAL
    if code not in APPLICATION_CODES or app_level_ack is AppLevelAck.AL:
        return True
    return (app_level_ack is AppLevelAck.SU and code == "AA") or (app_level_ack is AppLevelAck.ER and code != "AA")


def build(header: Header, code: str, text: str, *, now: str, control_id_of_ack: str, error_code: int | None = None) -> bytes:
    """Build the acknowledgment of the message with this `header`, in the sender's delimiters, every echoed byte kept.

    `text` holds no patient data; `now` is for MSH-7 (see `timestamp`); `control_id_of_ack` is for MSH-10, at most 20
    characters; `error_code`, of table 0357, adds an ERR segment in the form of the message's version.
    """
    separator = header.field_separator
    # cut short: a cache keeps it
    version = header.version[:10] or _DEFAULT_VERSION
    fields = [
        "MSH",
        header.encoding_characters,
        header.receiving_application,
        header.receiving_facility,
        header.sending_application,
        header.sending_facility,
        now,
        "",
        _message_type(header, version),
        control_id_of_ack,
        header.processing_id or "P",
        header.field(12) or _DEFAULT_VERSION,
    ]
    character_set = header.field(18)
    if character_set:
        fields += ["", "", "", "", "", character_set]
    segments = [separator.join(fields), separator.join(("MSA", code, header.control_id, _escape(text, header)))]
    if error_code is not None:
        segments.append(_error_segment(header, version, error_code))
    return ("\r".join(segments) + "\r").encode("latin-1", errors="replace")


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


def _error_segment(header: Header, version: str, error_code: int) -> str:
    """ERR-3 and ERR-4 from version 2.5 on, before that ERR-1.4 (HL7 v2.5.1, chapter 2.15.5)."""
    separator, component, sub = header.field_separator, header.component_separator, header.subcomponent_separator
    text = _TEXT_BY_ERROR[error_code]
    if _is_at_least(version, 2, 5):
        return separator.join(("ERR", "", "", component.join((str(error_code), text, "HL70357")), "E"))
    return separator.join(("ERR", component * 3 + sub.join((str(error_code), text, "HL70357"))))


@lru_cache(maxsize=64)
def _is_at_least(version: str, major: int, minor: int) -> bool:
    """Whether a version such as `2.5.1` is `major.minor` or later; one that cannot be read is not."""
    parts = version.split(".")
    try:
        return (int(parts[0]), int(parts[1])) >= (major, minor)
    except (IndexError, ValueError):
        return False


def _escape(text: str, header: Header) -> str:
    """Write delimiters as escape sequences (HL7 v2.5.1, chapter 2.7.1); control characters become spaces."""
    if text.replace(" ", "").isalnum():
        return text
    escape = header.escape_character
    sequences = {
        escape: "E",
        header.field_separator: "F",
        header.component_separator: "S",
        header.repetition_separator: "R",
        header.subcomponent_separator: "T",
    }
    return "".join(
        f"{escape}{sequences[character]}{escape}" if character in sequences else character if character >= " " else " "
        for character in text
    )
