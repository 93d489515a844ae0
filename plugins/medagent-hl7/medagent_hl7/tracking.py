"""What a channel does for messages that are numbered by their sender or part of a batch. Nothing here runs for the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from medagent.config.model import Value
from medagent.types import AcceptanceRules, Answer, InboundMessage, Refusal
from medagent_hl7.batch import BatchSettings
from medagent_hl7.batches import Batches, Examine
from medagent_hl7.message import Header
from medagent_hl7.notices import Notices
from medagent_hl7.numbering import with_expected_number
from medagent_hl7.origin import Note, Tracked, header_of
from medagent_hl7.replies import Replies
from medagent_hl7.verification import Verification


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
        log: logging.Logger,
        channel: str,
    ) -> None:
        """As of `Batches`."""
        self._replies = replies
        self._message_replies = message_replies
        self.verification: Verification | None = None
        """None unless MSH-13 is verified."""
        if parameters.get("verifySeqNo") is True:
            self.verification = Verification(
                registers, refuse=replies.to_unacceptable, acknowledge=self._acknowledge, log=log, channel=channel
            )
        self.batches = Batches(
            BatchSettings.from_parameters(parameters),
            replies=replies,
            message_replies=message_replies,
            rules=rules,
            examine=examine,
            verification=self.verification,
            notices=notices,
        )

    def _acknowledge(self, header: Header) -> bytes:
        """A general acknowledgment, also in original mode, where the server has nothing to say to it."""
        frame = self._message_replies.to_commit(header) or self._message_replies.to_answer(header, Answer(True, ""))
        return (self._replies.to_ignored() or b"") + frame

    def to_commit(self, message: InboundMessage) -> bytes | None:
        origin = message.origin
        if isinstance(origin, Note):
            if origin.done is not None:
                origin.done(True)
            return origin.on_commit
        if not isinstance(origin, Tracked):
            return self._replies.to_commit(header_of(message))
        if origin.batch is None:
            return _with_expected(self._replies.to_commit(origin.header), origin)
        return self.batches.to_commit(message, origin, _with_expected(self._message_replies.to_commit(origin.header), origin))

    def to_refusal(self, message: InboundMessage, refusal: Refusal) -> bytes | None:
        origin = message.origin
        if isinstance(origin, Note):
            if origin.done is not None:
                origin.done(False)
            return None if origin.tracked is None else self._replies.to_refusal(origin.tracked.header, refusal)
        if not isinstance(origin, Tracked) or origin.batch is None:
            return self._replies.to_refusal(header_of(message), refusal)
        return self.batches.to_refusal(origin, self._message_replies.to_refusal(origin.header, refusal))

    def to_answer(self, message: InboundMessage, answer: Answer) -> bytes | None:
        """The frame for the server's verdict; None if none is owed."""
        header = header_of(message)
        if not self._replies.is_owed(header, answer):
            return None
        frame = self._replies.to_answer(header, answer)
        return _with_expected(frame, message.origin) if isinstance(message.origin, Tracked) else frame

    def refused(self, messages: Sequence[InboundMessage]) -> None:
        """Undo what these have moved; call it before their frames are made."""
        if self.verification is not None:
            self.verification.refused(messages)

    def release(self, expected: int | None, key: str, done: Callable[[bool], None]) -> InboundMessage | None:
        """As `Verification.release`."""
        return None if self.verification is None else self.verification.release(expected, key, done)

    def reasons(self) -> list[str]:
        """The frozen links, for `medagent status`."""
        frozen = {} if self.verification is None else self.verification.frozen()
        return [
            f"link {key} is frozen: sequence number {expected} is expected; release it with `medagent channel resync`"
            for key, expected in frozen.items()
        ]


def _with_expected(frame: bytes | None, origin: Tracked) -> bytes | None:
    return frame if frame is None or origin.expected is None else with_expected_number(frame, origin.expected)
