"""From what one read of a connection has brought to the messages that are handed over and the frames that refuse the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from medagent.channel import ChannelContext
from medagent.listening import Notices
from medagent.queue.parts import with_parts
from medagent.types import InboundMessage
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.batch import is_batch
from medagent_hl7.connection import Connection
from medagent_hl7.faults import note_fault, note_useless
from medagent_hl7.framing import Empty, Frame, FrameEvent, Oversize
from medagent_hl7.identity import sender_of
from medagent_hl7.in_force import InForce
from medagent_hl7.message import Header, Hl7Error, is_plain
from medagent_hl7.ordering import Placed
from medagent_hl7.owed import has_acknowledgment_type, is_acknowledgment
from medagent_hl7.release2 import NOT_COMMITTED, is_transport_block
from medagent_hl7.tracking import Tracking
from medagent_hl7.workings import NOT_ALLOWED


class Reception:
    """Reads for all connections of a channel."""

    def __init__(self, in_force: InForce, tracking: Tracking, notices: Notices, context: ChannelContext) -> None:
        self._in_force = in_force
        self._tracking = tracking
        self._notices = notices
        self._context = context

    def take(self, connection: Connection, events: Sequence[FrameEvent]) -> list[InboundMessage]:
        """What is handed over of one read; the connection's order knows of it then, and of the frames between."""
        accepted: list[InboundMessage] = []
        messages: list[InboundMessage] = []
        frames: list[Placed] = []
        for event in events:
            if connection.aborted:
                break
            if not isinstance(event, Frame):
                frames += _placed(messages, self._handle_fault(connection, event))
                continue
            connection.junk_bytes = 0
            plain = is_plain(event.body)
            if not plain and is_batch(event.body):
                connection.useless_frames = 0
                accepted += self._prepare(connection, messages, frames)
                messages, frames = [], []
                batch, refusals = self._tracking.batches.receive(event.body, connection.remote, connection.link)
                accepted += batch
                parts = with_parts(batch)
                connection.order.add(parts, [(len(parts), frame) for frame in refusals])
                continue
            try:
                header = Header.parse(event.body)
            except Hl7Error as error:
                frames += _placed(messages, self._handle_unreadable(connection, event.body, error))
                continue
            connection.useless_frames = 0
            workings = self._in_force.now
            objection = workings.objection(header, event.body)
            if objection is NOT_ALLOWED:
                self._notices.add("sender not allowed", f"from {connection.remote}")
                reply = workings.replies.to_unacceptable(header, objection.text, objection.error_code)
            elif _acknowledges(header, event.body, plain) and not workings.replies.takes(header):
                self._notices.add("acknowledgment ignored", f"from {connection.remote}", logging.DEBUG)
                reply = workings.replies.to_ignored()
            elif objection is not None:
                self._notices.add("message not accepted", f"{objection.text}{objection.detail}, from {connection.remote}")
                reply = workings.replies.to_unacceptable(header, objection.text, objection.error_code, objection.error_field)
            else:
                remote, link, sender = connection.remote, connection.link, sender_of(header)
                messages.append(InboundMessage(event.body, header.control_id, remote, link, header, workings.rules, sender))
                continue
            frames += _placed(messages, reply)
        accepted += self._prepare(connection, messages, frames)
        return accepted

    def _prepare(self, connection: Connection, messages: list[InboundMessage], frames: list[Placed]) -> list[InboundMessage]:
        """What is handed over of these messages; `frames` have their places among them."""
        prepared = self._tracking.prepare(messages)
        connection.order.add(prepared, frames)
        return prepared

    def _handle_fault(self, connection: Connection, event: FrameEvent) -> bytes | None:
        """Note what is no frame; return the answer to it, if there can be one."""
        limit = self._context.max_body_bytes
        note_fault(event, connection, self._notices, limit)
        if isinstance(event, Oversize):
            text = f"The message is longer than {limit} bytes"
            if is_batch(event.head):
                text = f"The batch is longer than {limit} bytes: send its messages in several"
            return self._reject(event.head, text, INTERNAL_ERROR)
        return self._in_force.now.replies.to_unreadable() if isinstance(event, Empty) else None

    def _handle_unreadable(self, connection: Connection, body: bytes, error: Hl7Error) -> bytes | None:
        """Note a frame that is no message; return the answer to it, if there can be one."""
        if is_transport_block(body):
            self._note_block(body, connection)
            return None
        self._notices.add("frame without an HL7 message", f"{error}, from {connection.remote}")
        note_useless(connection, self._notices)
        return self._reject(body, str(error), error.code)

    def _note_block(self, block: bytes, connection: Connection) -> None:
        """0x06 or 0x15 has come: of MLLP release 2, about an acknowledgment that was sent; never a message."""
        if not self._in_force.now.release2:
            text = f"from {connection.remote}; mllpRelease=2 is for such a device"
            self._notices.add("block of MLLP release 2 ignored", text)
            note_useless(connection, self._notices)
        elif block == NOT_COMMITTED:
            self._notices.add("device did not store an acknowledgment", f"it sent 0x15, from {connection.remote}")

    def _reject(self, body: bytes, text: str, error_code: int) -> bytes | None:
        """The answer to what cannot be read; none if none is owed, or without a header."""
        replies = self._in_force.now.replies
        header = Header.salvage(body)
        if header is None:
            return replies.to_unreadable()
        if is_acknowledgment(header, body) and not replies.takes(header):
            return replies.to_ignored()
        return replies.to_unacceptable(header, text, error_code)


def _acknowledges(header: Header, body: bytes, plain: bool) -> bool:
    return has_acknowledgment_type(header) if plain else is_acknowledgment(header, body)


def _placed(before: Sequence[InboundMessage], frame: bytes | None) -> list[Placed]:
    return [] if frame is None else [(len(before), frame)]
