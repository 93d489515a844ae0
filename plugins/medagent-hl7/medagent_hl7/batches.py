"""The batches of one channel: taken apart, accepted or refused as a whole, and answered as `batchAck` says. Without I/O."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

from medagent.listening import Notices
from medagent.types import Answer, Delivery, InboundMessage
from medagent_hl7.acceptance import Objection
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.batch import BatchFile, split
from medagent_hl7.batch_answers import BatchReply, Outline, build
from medagent_hl7.identity import sender_of
from medagent_hl7.in_force import InForce
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.origin import Tracked
from medagent_hl7.owed import is_acknowledgment
from medagent_hl7.verification import Verification

SEGMENT_SEQUENCE_ERROR = 100
MOST_REFUSALS = 1000
"""Messages of a refused batch that are answered: the answers may be longer than what came."""
_REFUSED_WITH_OTHERS = "The batch is refused as a whole; send it again once it is mended"

Answers = Sequence[tuple[InboundMessage, Answer]]


class Batches:
    """Batches of all connections of a channel."""

    def __init__(
        self, in_force: InForce, *, verification: Verification, notices: Notices, is_open: Callable[[str], bool]
    ) -> None:
        """`is_open`: whether the connection of a link is."""
        self._in_force = in_force
        self._verification = verification
        self._notices = notices
        self._is_open = is_open
        self._open: dict[str, dict[BatchReply, None]] = {}
        """Batches that wait for answers of the server, by link, in order."""
        self._places: dict[int, list[tuple[BatchReply, int]]] = {}
        """Where the answer of a stored message goes, by its seq: several places if it has come more than once."""

    def receive(self, body: bytes, remote: str, link: str) -> tuple[list[InboundMessage], list[bytes]]:
        """Take the data of a frame that is a batch; return what to hand over, and the frames to send at once."""
        now = self._in_force.now
        batch = split(body, now.batches.max_messages)
        if batch.excess:
            return [], self._refuse_excess(batch, body, remote)
        common = self._fault_of(batch)
        self._note_envelope(batch, remote, refused=common is not None)
        indexes: list[int] = []
        parts: list[InboundMessage] = []
        headers: dict[int, Header] = {}
        faults: dict[int, Objection] = {}
        messages = batch.messages
        for index, message in enumerate(messages):
            if index >= MOST_REFUSALS and faults:
                break
            try:
                header = Header.parse(message)
            except Hl7Error as error:
                faults[index] = Objection(str(error), error.code)
                salvaged = Header.salvage(message)
                if salvaged is not None and not self._is_ignored(salvaged, message):
                    headers[index] = salvaged
                continue
            if self._is_ignored(header, message):
                self._notices.add("acknowledgment ignored", f"in a batch from {remote}")
                continue
            headers[index] = header
            if (fault := now.objection(header, message)) is not None:
                faults[index] = fault
            indexes.append(index)
            parts.append(InboundMessage(message, header.control_id, remote, link, header, now.rules, sender=sender_of(header)))
        if common is not None or faults:
            first = common or next(iter(faults.values()))
            self._notices.add("batch refused", f"{len(messages)} messages: {first.text}{first.detail}, from {remote}")
            return [], self._refuse(batch, headers, faults, common or Objection(_REFUSED_WITH_OTHERS, INTERNAL_ERROR))
        if not parts:
            return [], self._to_empty()
        reply = BatchReply(Outline.of(batch), link, indexes, together=now.batches.answer_together)
        for index, part in zip(indexes, parts, strict=True):
            part.origin = Tracked(headers[index], batch=reply, index=index)
            if now.verify:
                self._verification.prepare_part(part, part.origin)
        return [InboundMessage(None, "", remote, link, parts=tuple(parts))], []

    def _is_ignored(self, header: Header, message: bytes) -> bool:
        return is_acknowledgment(header, message) and not self._in_force.now.message_replies.takes(header)

    def _note_envelope(self, batch: BatchFile, remote: str, *, refused: bool) -> None:
        """What is odd about it, in a line or two; what refuses it is noted with the refusal."""
        for name, count in Counter(batch.missing).items():
            self._notices.add("batch", f"{name} is missing{f' {count} times' if count > 1 else ''}, from {remote}")
        if batch.miscounts and not refused:
            self._notices.add("batch", f"{batch.miscounts[0]}, from {remote}")

    def _refuse_excess(self, batch: BatchFile, body: bytes, remote: str) -> list[bytes]:
        """One answer, to the first header that can be found: one for each would be more than came."""
        text = f"The batch holds more than {self._in_force.now.batches.max_messages} messages or batches (maxBatchMessages)"
        self._notices.add("batch refused", f"{text}, from {remote}")
        first = next((message for one in batch.batches for message in one.messages), body)
        return self._refuse_one(Header.salvage(first), text)

    def _refuse_one(self, header: Header | None, text: str) -> list[bytes]:
        replies = self._in_force.now.replies
        frame = replies.to_unreadable() if header is None else replies.to_unacceptable(header, text, INTERNAL_ERROR)
        return [] if frame is None else [frame]

    def _fault_of(self, batch: BatchFile) -> Objection | None:
        if batch.fault:
            return Objection(f"The batch cannot be read: {batch.fault}", SEGMENT_SEQUENCE_ERROR)
        if batch.miscounts and self._in_force.now.batches.reject_miscounts:
            return Objection(batch.miscounts[0], INTERNAL_ERROR)
        return None

    def _refuse(
        self, batch: BatchFile, headers: dict[int, Header], faults: dict[int, Objection], common: Objection
    ) -> list[bytes]:
        """Each message is answered, but no more than `MOST_REFUSALS`: with its own fault, or the one that all share."""
        now = self._in_force.now
        frames: dict[int, bytes] = {}
        for index, header in itertools.islice(headers.items(), MOST_REFUSALS):
            fault = faults.get(index, common)
            frame = now.message_replies.to_unacceptable(header, fault.text, fault.error_code, fault.error_field)
            if frame is not None:
                frames[index] = frame
        block = now.replies.to_unreadable()
        blocks = [] if block is None else [block]
        if now.batches.answer_together and frames:
            return [*blocks, build(Outline.of(batch), frames)]
        return [*blocks, *frames.values()]

    def _to_empty(self) -> list[bytes]:
        """The answer to a batch with no message: none of HL7, since two such channels would answer each other for ever."""
        block = self._in_force.now.replies.to_ignored()
        return [] if block is None else [block]

    def to_commit(self, message: InboundMessage, tracked: Tracked, frame: bytes | None) -> bytes | None:
        """What to send now that this part is on disk, `frame` being its own acknowledgment."""
        reply = _reply(tracked)
        if reply.together:
            if self._is_open(reply.link):
                seq = _stored_seq(message)
                self._open.setdefault(reply.link, {})[reply] = None
                self._places.setdefault(seq, []).append((reply, tracked.index))
                reply.seqs.add(seq)
            frame = reply.on_commit.add(tracked.index, frame)
        reply.stored = True
        return self._behind_block(reply, tracked.index, frame)

    def to_refusal(self, tracked: Tracked, frame: bytes | None) -> bytes | None:
        """What to send now that this part is refused, `frame` being its own acknowledgment."""
        reply = _reply(tracked)
        if reply.together:
            reply.on_answer.add(tracked.index, None)
            frame = reply.on_commit.add(tracked.index, frame)
        return self._behind_block(reply, tracked.index, frame)

    def _behind_block(self, reply: BatchReply, index: int, frame: bytes | None) -> bytes | None:
        """In MLLP release 2 one block goes before all acknowledgments: 06 if any part of the frame is stored, else 15."""
        reply.undecided -= 1
        replies = self._in_force.now.replies  # the release does not change
        block = replies.to_ignored() if reply.stored else replies.to_unreadable()
        if block is None:
            return frame
        if frame is not None:
            reply.behind_block[index] = frame
        return None if reply.undecided else block + b"".join(frame for _, frame in sorted(reply.behind_block.items()))

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
        here = [self._waits_here(message) for message, _ in answers]
        owns = [to_answer(*one) if waits else None for one, waits in zip(answers, here, strict=True)]
        others = iter(singly([one for one, waits in zip(answers, here, strict=True) if not waits]))
        of_this_call = {id(message): position for position, (message, _) in enumerate(answers)}
        deliveries: list[Delivery] = []
        complete: list[tuple[BatchReply, bytes | None]] = []
        for (message, _), own, waits in zip(answers, owns, here, strict=True):
            if not waits:
                deliveries.append(next(others))
            else:
                deliveries.append(Delivery.NOT_OWED if own is None else Delivery.QUEUED)
            seq, kept = _stored_seq(message), False
            for reply, index in self._places.pop(seq, ()):
                reply.seqs.discard(seq)
                # the device may have sent it again over another connection, which gets the answer
                frame = reply.on_answer.add(index, own if reply.link == message.link else None)
                if reply.link == message.link and own is not None and not kept:
                    kept = True
                    reply.answered.append(message)
                if not reply.on_answer.pending:
                    complete.append((reply, frame))
        for reply, frame in complete:
            self._forget(reply)
            if frame is None:
                continue
            delivery = send(reply.link, frame, reply.answered)
            early = []
            for message in reply.answered:
                if id(message) in of_this_call:
                    deliveries[of_this_call[id(message)]] = delivery
                else:
                    early.append(message)
            if early and delivery is not Delivery.QUEUED:
                delivered(early, delivery)
        return deliveries

    def _waits_here(self, message: InboundMessage) -> bool:
        """Whether a batch of the message's own connection waits for its answer."""
        return any(reply.link == message.link for reply, _ in self._places.get(_stored_seq(message), ()))

    def closed(self, link: str) -> list[InboundMessage]:
        """The connection has gone; returns the messages whose answers waited for it."""
        answered = []
        for reply in self._open.pop(link, ()):
            answered += reply.answered
            for seq in reply.seqs:
                left = [place for place in self._places.pop(seq) if place[0] is not reply]
                if left:
                    self._places[seq] = left
        return answered

    def _forget(self, reply: BatchReply) -> None:
        replies = self._open[reply.link]
        del replies[reply]
        if not replies:
            del self._open[reply.link]


def _stored_seq(message: InboundMessage) -> int:
    return message.copy_of or message.seq


def _reply(tracked: Tracked) -> BatchReply:
    if tracked.batch is None:
        raise TypeError("no part of a batch")
    return tracked.batch
