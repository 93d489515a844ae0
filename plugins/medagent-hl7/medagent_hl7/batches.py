"""The batches of one channel: taken apart, accepted or refused as a whole, and answered as `batchAck` says. Without I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medagent.types import AcceptanceRules, Answer, Delivery, InboundMessage
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.batch import BatchFile, BatchSettings, split
from medagent_hl7.batch_answers import BatchReply, build
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.notices import Notices
from medagent_hl7.numbering import with_expected_number
from medagent_hl7.origin import Tracked
from medagent_hl7.owed import is_acknowledgment
from medagent_hl7.replies import Replies
from medagent_hl7.verification import SEQUENCE_NUMBER, UNEXPECTED_NUMBER, Verification

SEGMENT_SEQUENCE_ERROR = 100
_REFUSED_WITH_OTHERS = "The batch is refused as a whole; send it again once it is mended"

Answers = Sequence[tuple[InboundMessage, Answer]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a message, or each of a batch, is not accepted."""

    text: str
    error_code: int
    error_field: int | None = None
    expected: int | None = None
    """For MSA-4."""


Examine = Callable[[Header, bytes], Fault | None]
"""The channel's own objections to a message."""


class Batches:
    """Batches of all connections of a channel."""

    def __init__(
        self,
        settings: BatchSettings,
        *,
        replies: Replies,
        message_replies: Replies,
        rules: AcceptanceRules,
        examine: Examine,
        verification: Verification | None,
        notices: Notices,
    ) -> None:
        """`replies` are those to frames, `message_replies` those to messages inside one, without blocks of MLLP release 2."""
        self._settings = settings
        self._replies = replies
        self._message_replies = message_replies
        self._rules = rules
        self._examine = examine
        self._verification = verification
        self._notices = notices
        self._open: dict[str, list[BatchReply]] = {}
        """Batches that wait for answers of the server, by link."""

    def receive(self, body: bytes, remote: str, link: str) -> tuple[list[InboundMessage], list[bytes]]:
        """Take the data of a frame that is a batch; return what to hand over, and the frames to send at once."""
        batch = split(body)
        for text in batch.missing + batch.miscounts:
            self._notices.add("batch", f"{text if text in batch.miscounts else text + ' is missing'}, from {remote}")
        indexes: list[int] = []
        parts: list[InboundMessage] = []
        headers: dict[int, Header] = {}
        faults: dict[int, Fault] = {}
        for index, message in enumerate(batch.messages):
            try:
                header = headers[index] = Header.parse(message)
            except Hl7Error as error:
                faults[index] = Fault(str(error), error.code)
                if (salvaged := Header.salvage(message)) is not None:
                    headers[index] = salvaged
                continue
            if is_acknowledgment(header, message) and not self._message_replies.takes(header):
                self._notices.add("acknowledgment ignored", f"in a batch from {remote}")
                continue
            if (fault := self._examine(header, message)) is not None:
                faults[index] = fault
            indexes.append(index)
            parts.append(InboundMessage(message, header.control_id, remote, link, header, self._rules))
        common = self._fault_of(batch)
        notes: list[InboundMessage] = []
        if common is None and not faults and self._verification is not None:
            unexpected = self._verification.screen_batch(parts)
            if unexpected is not None:
                position, expected, note = unexpected
                faults[indexes[position]] = Fault(UNEXPECTED_NUMBER, INTERNAL_ERROR, SEQUENCE_NUMBER, expected)
                notes.append(note)
        if common is not None or faults:
            first = common or next(iter(faults.values()))
            self._notices.add("batch refused", f"{len(batch.messages)} messages: {first.text}, from {remote}")
            return notes, self._refuse(batch, headers, faults, common or Fault(_REFUSED_WITH_OTHERS, INTERNAL_ERROR))
        if not parts:
            return [], self._to_empty(batch)
        reply = BatchReply(batch, [part.control_id for part in parts], indexes, together=self._settings.answer_together)
        for index, part in zip(indexes, parts, strict=True):
            tracked = part.origin if isinstance(part.origin, Tracked) else Tracked(headers[index])
            tracked.batch, tracked.index = reply, index
            part.origin = tracked
        return [InboundMessage(None, "", remote, link, parts=tuple(parts))], []

    def _fault_of(self, batch: BatchFile) -> Fault | None:
        if batch.fault:
            return Fault(f"The batch cannot be read: {batch.fault}", SEGMENT_SEQUENCE_ERROR)
        if batch.miscounts and self._settings.reject_miscounts:
            return Fault(batch.miscounts[0], INTERNAL_ERROR)
        return None

    def _refuse(self, batch: BatchFile, headers: dict[int, Header], faults: dict[int, Fault], common: Fault) -> list[bytes]:
        """Each message is answered: with its own fault, or the one that all share."""
        frames: dict[int, bytes] = {}
        for index, header in headers.items():
            fault = faults.get(index, common)
            frame = self._message_replies.to_unacceptable(header, fault.text, fault.error_code, fault.error_field)
            if frame is not None:
                frames[index] = frame if fault.expected is None else with_expected_number(frame, fault.expected)
        block = self._replies.to_unreadable()
        blocks = [] if block is None else [block]
        if self._settings.answer_together and frames:
            return [*blocks, build(batch, frames)]
        return [*blocks, *frames.values()]

    def _to_empty(self, batch: BatchFile) -> list[bytes]:
        """The answer to a batch with no message to store."""
        block = self._replies.to_ignored()
        blocks = [] if block is None else [block]
        return [*blocks, build(batch, {})] if self._settings.answer_together else blocks

    def to_commit(self, message: InboundMessage, tracked: Tracked, frame: bytes | None) -> bytes | None:
        """What to send now that this part is on disk, `frame` being its own acknowledgment."""
        reply = _reply(tracked)
        block = None if reply.decided else self._replies.to_ignored()
        reply.decided = True
        if reply.together:
            replies = self._open.setdefault(message.link, [])
            if reply not in replies:
                replies.append(reply)
            if message.stored_state is None:
                reply.copies.add(tracked.index)
            frame = reply.on_commit.add(tracked.index, frame)
        return _joined(block, frame)

    def to_refusal(self, tracked: Tracked, frame: bytes | None) -> bytes | None:
        """What to send now that this part is refused, `frame` being its own acknowledgment."""
        reply = _reply(tracked)
        block = None if reply.decided else self._replies.to_unreadable()
        reply.decided = True
        if reply.together:
            reply.on_answer.add(tracked.index, None)
            frame = reply.on_commit.add(tracked.index, frame)
        return _joined(block, frame)

    @property
    def waiting(self) -> bool:
        """Whether answers are gathered for some batch."""
        return bool(self._open)

    def answer(
        self,
        answers: Answers,
        singly: Callable[[Answers], list[Delivery]],
        to_answer: Callable[[InboundMessage, Answer], bytes | None],
        send: Callable[[str, bytes, Sequence[InboundMessage]], Delivery],
        delivered: Callable[[Sequence[InboundMessage], Delivery], None],
    ) -> list[Delivery]:
        """As `Channel.answer`. `singly` answers what is no part of a waiting batch."""
        places = [self._find(message) for message, _ in answers]
        others = iter(singly([one for one, place in zip(answers, places, strict=True) if place is None]))
        of_this_call = {id(message): position for position, (message, _) in enumerate(answers)}
        deliveries: list[Delivery] = []
        complete: list[tuple[str, BatchReply, bytes | None]] = []
        for (message, answer), place in zip(answers, places, strict=True):
            if place is None:
                deliveries.append(next(others))
                continue
            reply, index = place
            own = to_answer(message, answer)
            if own is not None:
                reply.answered.append(message)
            deliveries.append(Delivery.NOT_OWED if own is None else Delivery.QUEUED)
            for one, at in [place, *self._copies_of(message, reply, index)]:
                frame = one.on_answer.add(at, own)
                if not one.on_answer.pending:
                    complete.append((message.link, one, frame))
        for link, reply, frame in complete:
            self._forget(link, reply)
            if frame is None:
                continue
            delivery = send(link, frame, reply.answered)
            early = []
            for message in reply.answered:
                if id(message) in of_this_call:
                    deliveries[of_this_call[id(message)]] = delivery
                else:
                    early.append(message)
            if early and delivery is not Delivery.QUEUED:
                delivered(early, delivery)
        return deliveries

    def closed(self, link: str) -> list[InboundMessage]:
        """The connection has gone; returns the messages whose answers waited for it."""
        return [message for reply in self._open.pop(link, ()) for message in reply.answered]

    def _find(self, message: InboundMessage) -> tuple[BatchReply, int] | None:
        """The waiting batch that this answered message is a part of, and its place in it."""
        replies = self._open.get(message.link, ())
        origin = message.origin
        if isinstance(origin, Tracked):
            if origin.batch is None or origin.batch not in replies or not origin.batch.on_answer.waits_for(origin.index):
                return None
            return origin.batch, origin.index
        # it was read back from disk
        waiting = ((reply, at) for reply in replies for at in reply.called(message.control_id) if reply.on_answer.waits_for(at))
        return next(waiting, None)

    def _copies_of(self, message: InboundMessage, reply: BatchReply, index: int) -> list[tuple[BatchReply, int]]:
        """The other places on this connection that wait for the same answer, since the message has come more than once."""
        return [
            (other, at)
            for other in self._open.get(message.link, ())
            for at in other.same_as(reply, index, message.control_id)
            if other.on_answer.waits_for(at) and (at in other.copies or index in reply.copies)
        ]

    def _forget(self, link: str, reply: BatchReply) -> None:
        replies = self._open[link]
        replies.remove(reply)
        if not replies:
            del self._open[link]


def _reply(tracked: Tracked) -> BatchReply:
    if tracked.batch is None:
        raise TypeError("no part of a batch")
    return tracked.batch


def _joined(block: bytes | None, frame: bytes | None) -> bytes | None:
    return (block or b"") + (frame or b"") or None
