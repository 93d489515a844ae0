"""The frames that answer a device: which acknowledgment, in which words. Without I/O."""

from __future__ import annotations

import itertools
import time

from medagent.types import Answer, Refusal, RefusalKind
from medagent_hl7 import acknowledgment, charset
from medagent_hl7.framing import encode_frame
from medagent_hl7.message import Header, msa
from medagent_hl7.settings import Hl7Settings

_TEXT_OF_POSITIVE = {"CA": "Commit Accept", "AA": "OK"}

# one sequence for all channels; the clock's start keeps it apart from those of earlier runs, 16 digits
_control_ids = itertools.count(time.time_ns() // 1000)


class Replies:
    """Makes the frames that a channel with these settings sends to its devices."""

    def __init__(self, settings: Hl7Settings) -> None:
        self._settings = settings
        self._commit_code = acknowledgment.code_on_commit(settings.mode)
        codes = (*acknowledgment.APPLICATION_CODES, "")
        owed = {acknowledgment.owed_on_answer(settings.mode, settings.app_level_ack, code) for code in codes}
        self._owed_whatever_the_code = owed.pop() if len(owed) == 1 else None

    def to_commit(self, header: Header) -> bytes | None:
        """For a message that is on disk; None if the mode owes nothing yet."""
        return self._positive(header, self._commit_code) if self._commit_code is not None else None

    def to_refusal(self, header: Header, refusal: Refusal) -> bytes:
        """For a message that the core did not accept."""
        return self._negative(header, refusal.kind, refusal.reason, acknowledgment.INTERNAL_ERROR)

    def to_unacceptable(self, header: Header, text: str, error_code: int) -> bytes:
        """For a frame that the channel itself cannot accept; `error_code` is of table 0357."""
        return self._negative(header, RefusalKind.UNACCEPTABLE, text, error_code)

    def is_owed(self, answer: Answer) -> bool:
        """Whether the device is to hear of this verdict of the server."""
        if self._owed_whatever_the_code is not None:
            return self._owed_whatever_the_code
        return acknowledgment.owed_on_answer(self._settings.mode, self._settings.app_level_ack, _code(answer))

    def to_answer(self, header: Header, answer: Answer) -> bytes:
        """The server's acknowledgment unchanged, or one made here if it refused or answered with something else."""
        if not answer.accepted:
            return self._build(header, "AE", "The server refused the message", acknowledgment.INTERNAL_ERROR)
        if not _is_message(answer.body):
            return self._positive(header, "AA")
        return encode_frame(charset.encode(answer.body, charset.codec_of(header, self._settings.codec)))

    def _positive(self, header: Header, code: str) -> bytes:
        return self._build(header, code, _TEXT_OF_POSITIVE[code])

    def _negative(self, header: Header, kind: RefusalKind, text: str, error_code: int) -> bytes:
        return self._build(header, acknowledgment.code_on_refusal(self._settings.mode, kind), text, error_code)

    def _build(self, header: Header, code: str, text: str, error_code: int | None = None) -> bytes:
        body = acknowledgment.build(
            header,
            code,
            text,
            now=acknowledgment.timestamp(int(time.time())),
            control_id_of_ack=str(next(_control_ids)),
            error_code=error_code,
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
