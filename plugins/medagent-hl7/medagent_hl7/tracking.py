"""What a channel does for messages that are numbered by their sender or part of a batch. Nothing here runs for the others."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from medagent.listening import Notices
from medagent.types import Answer, InboundMessage, Refusal, RefusalKind
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.batches import Batches
from medagent_hl7.in_force import InForce
from medagent_hl7.numbering import with_expected_number
from medagent_hl7.origin import Note, Tracked, header_of
from medagent_hl7.replies import Replies
from medagent_hl7.verification import SEQUENCE_NUMBER, Verification
from medagent_hl7.workings import Workings

_MOST_REASONS = 20


class Tracking:
    """Batches and sequence numbers of one channel, and the frames that answer them."""

    def __init__(
        self,
        in_force: InForce,
        registers: Mapping[str, int],
        *,
        notices: Notices,
        channel: str,
        is_open: Callable[[str], bool],
    ) -> None:
        """`registers`: the channel's, kept up to date. `is_open`: whether the connection of a link is."""
        self._in_force = in_force
        self._notices = notices
        self.verification = Verification(registers, notices=notices, channel=channel)
        """In use while MSH-13 is verified, and after that for what was read meanwhile."""
        self.batches = Batches(in_force, verification=self.verification, notices=notices, is_open=is_open)

    def to_commit(self, message: InboundMessage) -> bytes | None:
        origin, workings = message.origin, self._in_force.at(message)
        if isinstance(origin, Note):
            if origin.done is not None:
                origin.done(len(origin.released))
            return None if origin.tracked is None else _with_expected(_acknowledge(workings, origin.tracked), origin.tracked)
        if not isinstance(origin, Tracked):
            return workings.replies.to_commit(header_of(message))
        if origin.batch is None:
            return _with_expected(workings.replies.to_commit(origin.header), origin)
        frame = _with_expected(workings.message_replies.to_commit(origin.header), origin)
        return self.batches.to_commit(message, origin, frame)

    def to_refusal(self, message: InboundMessage, refusal: Refusal) -> bytes | None:
        origin, workings = message.origin, self._in_force.at(message)
        if isinstance(origin, Note):
            if origin.done is not None:
                origin.done(None)
            return None if origin.tracked is None else _refuse(workings.replies, origin.tracked, refusal)
        if not isinstance(origin, Tracked):
            return workings.replies.to_refusal(header_of(message), refusal)
        if origin.batch is None:
            return _refuse(workings.replies, origin, refusal)
        return self.batches.to_refusal(origin, _refuse(workings.message_replies, origin, refusal))

    def to_answer(self, message: InboundMessage, answer: Answer) -> bytes | None:
        """The frame for the server's verdict; None if none is owed."""
        header, replies = header_of(message), self._in_force.owed(message).replies
        try:
            if not replies.is_owed(header, answer):
                return None
            frame = replies.to_answer(header, answer)
        # an answer of the server that nobody foresaw must not take those beside it with it
        except Exception as error:  # noqa: BLE001  as said above
            self._notices.add("answer of the server not passed on", type(error).__name__, logging.ERROR)
            frame = replies.to_own_answer(header, answer)
        return _with_expected(frame, message.origin) if isinstance(message.origin, Tracked) else frame

    def prepare(self, messages: list[InboundMessage]) -> list[InboundMessage]:
        """What is handed over of these messages: the numbered ones ask for their number to be verified, if that is on."""
        if not self._in_force.now.verify:
            return messages
        return [self.verification.prepare(message) for message in messages]

    def answered_only(self, messages: Sequence[InboundMessage]) -> Mapping[str, int]:
        """How many of these have the server's answer as their only acknowledgment, by link."""
        # the same for all of them, but for the time after a change
        of_all = self._in_force.now.replies.answers_only if self._in_force.unchanged else None
        if of_all is False:
            return {}
        return Counter(
            message.link
            for message in messages
            if not isinstance(message.origin, Note) and (of_all or self._is_answered_only(message))
        )

    def _is_answered_only(self, message: InboundMessage) -> bool:
        replies = self._in_force.owed(message).replies
        return replies.is_answered_only(header_of(message)) if replies.answers_only is None else replies.answers_only

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        """These are on disk."""
        self.verification.committed(messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        """These are not; call it before their frames are made."""
        self.verification.refused(messages, refusal)

    def release(self, expected: int | None, key: str, done: Callable[[int | None], None]) -> InboundMessage | None:
        """As `Verification.release`; None unless MSH-13 is verified."""
        return self.verification.release(expected, key, done) if self._in_force.now.verify else None

    def _source_of(self, key: str) -> str:
        host = self.verification.who_froze(key)
        return f", and another came from {host}" if host else ""

    def reasons(self) -> list[str]:
        """The frozen links, for `medagent status`."""
        frozen = self.verification.frozen() if self._in_force.now.verify else {}
        reasons = [
            f"link {key} is frozen: sequence number {expected} is expected{self._source_of(key)}; release it with "
            "`medagent channel resync`"
            for key, expected in itertools.islice(frozen.items(), _MOST_REASONS)
        ]
        return (
            reasons if len(frozen) <= _MOST_REASONS else [*reasons, f"and {len(frozen) - _MOST_REASONS} more links are frozen"]
        )


def _acknowledge(workings: Workings, origin: Tracked) -> bytes:
    """A general acknowledgment, also in original mode, where the server has nothing to say to it."""
    replies, header = workings.message_replies, origin.header
    frame = replies.to_commit(header) or replies.to_answer(header, Answer(True, ""))
    return (workings.replies.to_ignored() or b"") + frame


def _refuse(replies: Replies, origin: Tracked, refusal: Refusal) -> bytes | None:
    if refusal.kind is not RefusalKind.SEQUENCE:
        return replies.to_refusal(origin.header, refusal)
    return _with_expected(replies.to_unacceptable(origin.header, refusal.reason, INTERNAL_ERROR, SEQUENCE_NUMBER), origin)


def _with_expected(frame: bytes | None, origin: Tracked) -> bytes | None:
    return frame if frame is None or origin.expected is None else with_expected_number(frame, origin.expected)
