"""What a channel does for messages that are numbered by their sender or part of a batch. Nothing here runs for the others."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence

from medagent.config.model import Value
from medagent.types import AcceptanceRules, Answer, InboundMessage, Refusal, RefusalKind
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.batch import BatchSettings
from medagent_hl7.batches import Batches, Examine
from medagent_hl7.message import Header
from medagent_hl7.notices import Notices
from medagent_hl7.numbering import with_expected_number
from medagent_hl7.origin import Note, Tracked, header_of
from medagent_hl7.replies import Replies
from medagent_hl7.verification import SEQUENCE_NUMBER, Verification

_MOST_REASONS = 20


class Tracking:
    """Batches and sequence numbers of one channel, and the frames that answer them."""

    def __init__(
        self,
        parameters: Mapping[str, Value],
        registers: Mapping[str, int],
        *,
        replies: Replies,
        message_replies: Replies,
        rules: AcceptanceRules,
        examine: Examine,
        notices: Notices,
        channel: str,
        is_open: Callable[[str], bool],
    ) -> None:
        """As of `Batches`."""
        self._notices = notices
        self._replies = replies
        self._message_replies = message_replies
        self.verification: Verification | None = None
        """None unless MSH-13 is verified."""
        if parameters.get("verifySeqNo") is True:
            self.verification = Verification(registers, notices=notices, channel=channel)
        self.batches = Batches(
            BatchSettings.from_parameters(parameters),
            replies=replies,
            message_replies=message_replies,
            rules=rules,
            examine=examine,
            verification=self.verification,
            notices=notices,
            is_open=is_open,
        )

    def _acknowledge(self, header: Header) -> bytes:
        """A general acknowledgment, also in original mode, where the server has nothing to say to it."""
        frame = self._message_replies.to_commit(header) or self._message_replies.to_answer(header, Answer(True, ""))
        return (self._replies.to_ignored() or b"") + frame

    def to_commit(self, message: InboundMessage) -> bytes | None:
        origin = message.origin
        if isinstance(origin, Note):
            if origin.done is not None:
                origin.done(len(origin.released))
            return None if origin.tracked is None else _with_expected(self._acknowledge(origin.tracked.header), origin.tracked)
        if not isinstance(origin, Tracked):
            return self._replies.to_commit(header_of(message))
        if origin.batch is None:
            return _with_expected(self._replies.to_commit(origin.header), origin)
        return self.batches.to_commit(message, origin, _with_expected(self._message_replies.to_commit(origin.header), origin))

    def to_refusal(self, message: InboundMessage, refusal: Refusal) -> bytes | None:
        origin = message.origin
        if isinstance(origin, Note):
            if origin.done is not None:
                origin.done(None)
            return None if origin.tracked is None else _refuse(self._replies, origin.tracked, refusal)
        if not isinstance(origin, Tracked):
            return self._replies.to_refusal(header_of(message), refusal)
        if origin.batch is None:
            return _refuse(self._replies, origin, refusal)
        return self.batches.to_refusal(origin, _refuse(self._message_replies, origin, refusal))

    def to_answer(self, message: InboundMessage, answer: Answer) -> bytes | None:
        """The frame for the server's verdict; None if none is owed."""
        header = header_of(message)
        try:
            if not self._replies.is_owed(header, answer):
                return None
            frame = self._replies.to_answer(header, answer)
        # an answer of the server that nobody foresaw must not take those beside it with it
        except Exception as error:  # noqa: BLE001  as said above
            self._notices.add("answer of the server not passed on", type(error).__name__, logging.ERROR)
            frame = self._replies.to_own_answer(header, answer)
        return _with_expected(frame, message.origin) if isinstance(message.origin, Tracked) else frame

    def prepare(self, messages: list[InboundMessage]) -> list[InboundMessage]:
        """What is handed over of these messages: the numbered ones ask for their number to be verified, if that is on."""
        if self.verification is None:
            return messages
        return [self.verification.prepare(message) for message in messages]

    def is_answered_only(self, message: InboundMessage) -> bool:
        """Whether the server's answer is the only acknowledgment of this message."""
        return not isinstance(message.origin, Note) and self._replies.is_answered_only(header_of(message))

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        """These are on disk."""
        if self.verification is not None:
            self.verification.committed(messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        """These are not; call it before their frames are made."""
        if self.verification is not None:
            self.verification.refused(messages, refusal)

    def release(self, expected: int | None, key: str, done: Callable[[int | None], None]) -> InboundMessage | None:
        """As `Verification.release`; None unless MSH-13 is verified."""
        return None if self.verification is None else self.verification.release(expected, key, done)

    def _source_of(self, key: str) -> str:
        host = self.verification.who_froze(key) if self.verification is not None else ""
        return f", and another came from {host}" if host else ""

    def reasons(self) -> list[str]:
        """The frozen links, for `medagent status`."""
        frozen = {} if self.verification is None else self.verification.frozen()
        reasons = [
            f"link {key} is frozen: sequence number {expected} is expected{self._source_of(key)}; release it with "
            "`medagent channel resync`"
            for key, expected in itertools.islice(frozen.items(), _MOST_REASONS)
        ]
        return (
            reasons if len(frozen) <= _MOST_REASONS else [*reasons, f"and {len(frozen) - _MOST_REASONS} more links are frozen"]
        )


def _refuse(replies: Replies, origin: Tracked, refusal: Refusal) -> bytes | None:
    if refusal.kind is not RefusalKind.SEQUENCE:
        return replies.to_refusal(origin.header, refusal)
    return _with_expected(replies.to_unacceptable(origin.header, refusal.reason, INTERNAL_ERROR, SEQUENCE_NUMBER), origin)


def _with_expected(frame: bytes | None, origin: Tracked) -> bytes | None:
    return frame if frame is None or origin.expected is None else with_expected_number(frame, origin.expected)
