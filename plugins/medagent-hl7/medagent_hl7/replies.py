"""The frames that answer a device: which acknowledgment, in which words. Without I/O."""

from __future__ import annotations

import time

from medagent.types import Answer, Refusal, RefusalKind
from medagent_hl7 import acknowledgment, charset
from medagent_hl7.framing import END, START, encode_frame
from medagent_hl7.message import Header, Hl7Error, msa_code, with_msa_control_id
from medagent_hl7.owed import ANSWER_CODES, NOTHING, AckMode, Owed, OwedByMessage, has_acknowledgment_type, owed_by_channel
from medagent_hl7.samples import with_control_id
from medagent_hl7.settings import Hl7Settings

_TEXT_OF_POSITIVE = {"CA": "Commit Accept", "AA": "OK"}
_REFUSED = "The server refused the message"
_NOT_POSITIVE = "The server did not accept the message; its answer cannot be passed on"
_BLANK = "\ufeff \t\r\n\0"
"""What may stand before the MSH of a server's answer; dropped."""
_CONTROL_ID = 10
_SHORTEST_MSH = len("MSH|^")


class Replies:
    """Makes the frames that a channel with these settings sends to its devices. None is a silence that the mode asks for."""

    def __init__(self, settings: Hl7Settings) -> None:
        self._settings = settings
        self._owed_by_channel = owed_by_channel(settings.mode, settings.app_level_ack)
        by_message = settings.ack_mode is AckMode.MESSAGE
        self._owed_by_message = OwedByMessage(settings.mode, settings.missing_ack_type) if by_message else None

    @property
    def answers_only(self) -> bool | None:
        """What `is_answered_only` says of every message; None if that depends on the message."""
        return self._owed_by_channel.answers_only if self._owed_by_message is None else None

    def is_answered_only(self, header: Header) -> bool:
        """Whether the server's answer is the only acknowledgment of this message, as in original mode."""
        return self._owed(header).answers_only

    def takes(self, header: Header) -> bool:
        """Whether an ACK that a device sends is to be accepted, since it asks for a commit acknowledgment."""
        if self._owed_by_message is None or not has_acknowledgment_type(header):
            return False
        return self._owed_by_message(header) != NOTHING

    def to_commit(self, header: Header) -> bytes | None:
        """For a message that is on disk."""
        code = self._owed(header).on_commit
        return self._positive(header, code) if code is not None else None

    def to_refusal(self, header: Header, refusal: Refusal) -> bytes | None:
        """For a message that the core did not accept."""
        code = self._owed(header).on_refusal(refusal.kind)
        if code is None:
            return None
        if refusal.kind is RefusalKind.DUPLICATE:
            return self._build(header, code, refusal.reason, acknowledgment.DUPLICATE_KEY, _CONTROL_ID)
        return self._build(header, code, refusal.reason, acknowledgment.INTERNAL_ERROR)

    def to_unacceptable(self, header: Header, text: str, error_code: int, error_field: int | None = None) -> bytes | None:
        """For a frame that the channel itself cannot accept; `error_code` is of table 0357, `error_field` of MSH."""
        if self._owed_by_message is None and has_acknowledgment_type(header):
            return None
        code = self._owed(header).on_rejection
        if code == "AR" and error_code == acknowledgment.REQUIRED_FIELD_MISSING:
            # an error in the content of the message
            code = "AE"
        return self._build(header, code, text, error_code, error_field) if code is not None else None

    def to_unreadable(self) -> bytes | None:
        """For a frame without a header to answer."""
        return None

    def to_ignored(self) -> bytes | None:
        """For an ACK that a device sends and nobody waits for."""
        return None

    def is_owed(self, header: Header, answer: Answer) -> bool:
        """Whether the device is to hear of this verdict of the server."""
        owed = self._owed(header)
        return owed.answers and not (owed.withheld and _code(answer) in owed.withheld)

    def to_answer(self, header: Header, answer: Answer) -> bytes:
        """The server's acknowledgment, or one made here if it refused or answered with what cannot be passed on.

        It is unchanged, but for blanks and a byte order mark before it, MSA-2, which is given back byte for byte if it is not
        ASCII, and with `ackMode=message` MSH-10, if it is missing or that of the message: an application acknowledgment is a
        message of its own.
        """
        text = answer.body if answer.body.startswith("MSH") else answer.body.lstrip(_BLANK)
        if not answer.accepted or not _begins_with_msh(text):
            return self.to_own_answer(header, answer)
        try:
            data = self._encoded(header, text)
        except Hl7Error:
            return self.to_own_answer(header, answer)
        # bytes that MLLP takes for its own blocks
        if START in data or END in data or data.endswith(END[:1]):
            return self.to_own_answer(header, answer)
        return encode_frame(data)

    def to_own_answer(self, header: Header, answer: Answer) -> bytes:
        """An acknowledgment made here with the code of the server's, and a fixed text; AA if it accepted without a code."""
        if not answer.accepted:
            return self._build(header, "AE", _REFUSED, acknowledgment.INTERNAL_ERROR)
        code = _code(answer) or "AA"
        if code in _TEXT_OF_POSITIVE:
            return self._positive(header, code)
        # what is no code is not taken for a positive one
        return self._build(header, code if code in ANSWER_CODES else "AE", _NOT_POSITIVE, acknowledgment.INTERNAL_ERROR)

    def _encoded(self, header: Header, text: str) -> bytes:
        """The server's acknowledgment in the character set of the message. Raises `Hl7Error`."""
        codec = charset.codec_of(header, self._settings.codec)
        if header.wide_codec is None:
            return self._with_own_ids(header, charset.encode(text, codec), header.control_id)
        data = self._with_own_ids(header, text.encode("utf-8", errors="replace"), header.control_id)
        return charset.encode(data.decode("utf-8", errors="replace"), codec)

    def _with_own_ids(self, header: Header, data: bytes, control_id: str) -> bytes:
        if not control_id.isascii():
            data = with_msa_control_id(data, control_id)
        if self._owed_by_message is not None and Header.parse(data).control_id in ("", control_id):
            data = with_control_id(data, acknowledgment.next_control_id())
        return data

    def _owed(self, header: Header) -> Owed:
        return self._owed_by_channel if self._owed_by_message is None else self._owed_by_message(header)

    def _positive(self, header: Header, code: str) -> bytes:
        return self._build(header, code, _TEXT_OF_POSITIVE[code])

    def _build(
        self, header: Header, code: str, text: str, error_code: int | None = None, error_field: int | None = None
    ) -> bytes:
        body = acknowledgment.build(
            header,
            code,
            text,
            now=acknowledgment.timestamp(int(time.time())),
            control_id_of_ack=acknowledgment.next_control_id(),
            error_code=error_code,
            error_field=error_field,
            codec=charset.codec_of(header, self._settings.codec),
            short_type=self._settings.short_ack_type,
        )
        return encode_frame(body)


def _code(answer: Answer) -> str:
    """MSA-1 of the server's answer, however it is padded; "AA" if it is no HL7, "" if it has no MSA."""
    if not answer.accepted:
        return "AE"
    code = msa_code(answer.body)
    if code is None:
        return "" if _begins_with_msh(answer.body.lstrip(_BLANK)) else "AA"
    return code


def _begins_with_msh(text: str) -> bool:
    """Whether an answer without blanks before it may be HL7: what is more than the name of the segment."""
    return text.startswith("MSH") and len(text) > _SHORTEST_MSH and not text[3].isalnum()
