"""The frames that answer a device: which acknowledgment, in which words. Without I/O."""

from __future__ import annotations

import itertools
import time

from medagent.types import Answer, Refusal, RefusalKind
from medagent_hl7 import acknowledgment, charset
from medagent_hl7.framing import END, START, encode_frame
from medagent_hl7.message import Header, msa, with_msa_control_id
from medagent_hl7.owed import NOTHING, AckMode, Owed, OwedByMessage, owed_by_channel
from medagent_hl7.samples import with_control_id
from medagent_hl7.settings import Hl7Settings

_TEXT_OF_POSITIVE = {"CA": "Commit Accept", "AA": "OK"}
_CONTROL_ID = 10

# one sequence for all channels; the clock's start keeps it apart from those of earlier runs, 16 digits
_control_ids = itertools.count(time.time_ns() // 1000)


class Replies:
    """Makes the frames that a channel with these settings sends to its devices. None is a silence that the mode asks for."""

    def __init__(self, settings: Hl7Settings) -> None:
        self._settings = settings
        self._owed_by_channel = owed_by_channel(settings.mode, settings.app_level_ack)
        by_message = settings.ack_mode is AckMode.MESSAGE
        self._owed_by_message = OwedByMessage(settings.mode, settings.missing_ack_type) if by_message else None

    def takes(self, header: Header) -> bool:
        """Whether an ACK that a device sends is to be accepted, since it asks for a commit acknowledgment."""
        if self._owed_by_message is None or header.message_type != "ACK":
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
        if self._owed_by_message is None and header.message_type == "ACK":
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
        """The server's acknowledgment, or one made here if it refused or answered with something else.

        It is unchanged, but for MSA-2, which is given back byte for byte if it is not ASCII, and with `ackMode=message` for
        MSH-10, if it is missing or that of the message: an application acknowledgment is a message of its own.
        """
        if not answer.accepted:
            return self._build(header, "AE", "The server refused the message", acknowledgment.INTERNAL_ERROR)
        if not _is_message(answer.body):
            return self._positive(header, "AA")
        if header.wide_codec is not None:
            return self._to_wide_answer(header, answer.body)
        data = charset.encode(answer.body, charset.codec_of(header, self._settings.codec))
        return encode_frame(self._with_own_ids(header, data, header.control_id))

    def _to_wide_answer(self, header: Header, text: str) -> bytes:
        """In UTF-16 or UTF-32; one that would hold the bytes of the blocks gives way to one made here with its code."""
        codec = charset.codec_of(header, self._settings.codec)
        data = self._with_own_ids(header, text.encode("utf-8", errors="replace"), header.control_id)
        wide = charset.encode(data.decode("utf-8", errors="replace"), codec)
        if START in wide or END in wide:
            found = msa(text)
            return self._build(header, found[0] if found else "AA", "")
        return encode_frame(wide)

    def _with_own_ids(self, header: Header, data: bytes, control_id: str) -> bytes:
        if not control_id.isascii():
            data = with_msa_control_id(data, control_id)
        if self._owed_by_message is not None and Header.parse(data).control_id in ("", control_id):
            data = with_control_id(data, str(next(_control_ids)))
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
            control_id_of_ack=str(next(_control_ids)),
            error_code=error_code,
            error_field=error_field,
            codec=charset.codec_of(header, self._settings.codec),
            short_type=self._settings.short_ack_type,
        )
        return encode_frame(body)


def _code(answer: Answer) -> str:
    if not answer.accepted:
        return "AE"
    if not _is_message(answer.body):
        return "AA"
    acknowledged = msa(answer.body)
    return acknowledged[0] if acknowledged else ""


def _is_message(body: str) -> bool:
    """Whether the server's answer is HL7 that can be framed."""
    return body.startswith("MSH") and "\x0b" not in body and "\x1c" not in body
