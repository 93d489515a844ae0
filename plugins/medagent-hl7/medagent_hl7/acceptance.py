"""Whether the channel can accept a message, beyond what its frame and its header showed. Without I/O."""

from __future__ import annotations

from dataclasses import dataclass

from medagent_hl7 import charset
from medagent_hl7.acknowledgment import DATA_TYPE_ERROR, REQUIRED_FIELD_MISSING
from medagent_hl7.charset import InvalidText, Unusable
from medagent_hl7.message import Header
from medagent_hl7.settings import Hl7Settings

_CONTROL_ID = 10
_CHARACTER_SET = 18


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a message, or each of a batch, is not accepted."""

    text: str
    """For the sender and the log; holds nothing of the message's content."""
    error_code: int
    """Of table 0357."""
    error_field: int | None = None
    """Of MSH."""
    detail: str = ""
    """What the log has to say beside the text."""


_NO_CONTROL_ID = Objection("The message has no control ID", REQUIRED_FIELD_MISSING, _CONTROL_ID)
_INVALID_TEXT = "The message is not valid in its character set"
_NOT_WIDE = Objection("The message is declared UTF-16 or UTF-32 and is neither", DATA_TYPE_ERROR, _CHARACTER_SET)


class Acceptance:
    """The objections of one channel."""

    def __init__(self, settings: Hl7Settings) -> None:
        self._reject_missing_control_id = settings.reject_missing_control_id
        self._reject_invalid_text = settings.invalid_text is InvalidText.REJECT
        self._codec = settings.codec

    def objection(self, header: Header, body: bytes) -> Objection | None:
        """The first objection to a message, or None.

        One that MSH-18 declares UTF-16 or UTF-32 although its bytes show neither is taken if it can be read without loss in
        the channel's character set: its MSH-18 is wrong and its text is not.
        """
        if self._reject_missing_control_id and not header.control_id:
            return _NO_CONTROL_ID
        if header.evident_codec is None and charset.declared(header) is Unusable.WIDE:
            return None if charset.is_valid(body, self._codec) else _NOT_WIDE
        if self._reject_invalid_text and not charset.is_valid(body, codec := charset.codec_of(header, self._codec)):
            return Objection(_INVALID_TEXT, DATA_TYPE_ERROR, _CHARACTER_SET, f" ({codec} expected)")
        return None
