"""The `mllp` channel: a listener for HL7 v2 over MLLP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence

from medagent.channel import ChannelContext
from medagent.errors import ChannelError
from medagent.queue.parts import with_parts
from medagent.tasks import Tasks
from medagent.types import Answer, Delivery, InboundMessage, Refusal
from medagent_hl7 import tls
from medagent_hl7.acceptance import Acceptance
from medagent_hl7.accepting import Acceptor
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.allow import AllowedPeers, AllowedSenders
from medagent_hl7.batch import is_batch
from medagent_hl7.batches import Fault
from medagent_hl7.block_replies import BlockReplies
from medagent_hl7.connection import Connection
from medagent_hl7.faults import note_fault
from medagent_hl7.framing import Empty, Frame, FrameEvent, Oversize
from medagent_hl7.guarding import Guard
from medagent_hl7.identity import sender_of
from medagent_hl7.keys import key_path, workers
from medagent_hl7.limits import Limits
from medagent_hl7.listening import format_address, open_sockets
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.notices import Notices
from medagent_hl7.numbering import WIDEST, with_sequence_number
from medagent_hl7.ordering import Placed
from medagent_hl7.origin import Tracked, header_of
from medagent_hl7.owed import is_acknowledgment
from medagent_hl7.reading import TextReader
from medagent_hl7.release2 import NOT_COMMITTED, is_transport_block
from medagent_hl7.replies import Replies
from medagent_hl7.rules import acceptance_rules
from medagent_hl7.schemes import CONTENT_TYPE, MLLPS
from medagent_hl7.settings import Hl7Settings
from medagent_hl7.tracking import Tracking

_CLOSE_SECONDS = 2.0
_NOT_ALLOWED = "This sender is not allowed here"


class Hl7Channel:
    """One listener. Implements `medagent.channel.Channel` and `Keyed`, whose docstrings hold."""

    content_type = CONTENT_TYPE

    def __init__(self, context: ChannelContext) -> None:
        self.log = context.log
        self._context = context
        settings = Hl7Settings.from_parameters(context.config.parameters)
        self._release2 = settings.mllp_release == 2
        self._replies = (BlockReplies if self._release2 else Replies)(settings)
        self._acceptance = Acceptance(settings)
        self._notices = Notices(context.log, context.config.name)
        self._reader = TextReader(settings, self._notices)
        self._limits = Limits.from_parameters(context.config.parameters)
        self._allowed_senders = AllowedSenders.from_parameters(context.config.parameters)
        self._acceptor: Acceptor | None = None
        self._certificates: tls.Certificates | None = None
        self._tasks = Tasks()
        self._address = ""
        self._connections: dict[str, Connection] = {}
        """By link."""
        self._no_connections = asyncio.Event()
        self._no_connections.set()
        self._paused = False
        self._stopping = False
        self._closing = False
        self._guard = Guard(self._connections, self._limits, self._notices)
        self._rules = acceptance_rules(context.config.parameters)
        self._key_path = key_path(context.config.parameters)
        self.max_workers = workers(context.config.parameters)
        self._tracking = Tracking(
            context.config.parameters,
            context.registers,
            replies=self._replies,
            message_replies=Replies(settings),
            rules=self._rules,
            examine=self._examine,
            notices=self._notices,
            channel=context.config.name,
            is_open=self._connections.__contains__,
        )

    async def start(self) -> None:
        config = self._context.config
        if config.scheme == MLLPS:
            settings = tls.TlsSettings.from_parameters(config.parameters)
            self._certificates = tls.Certificates(settings, self.log, config.name)
        sockets = await open_sockets(None if self._context.bind_any else config.host, config.port)
        self._acceptor = Acceptor(
            self._make_connection,
            max_connections=self._limits.max_connections,
            peers=AllowedPeers.from_parameters(config.parameters),
            certificates=self._certificates,
            notices=self._notices,
        )
        self._acceptor.start(sockets)
        self._tasks.spawn(self._guard.run(), f"guard of channel {config.name}")
        if self._certificates is not None:
            self._tasks.spawn(self._certificates.follow(), f"certificates of channel {config.name}")
        self._address = format_address(sockets[0].getsockname())

    async def stop_accepting(self) -> None:
        if self._acceptor is not None:
            await self._acceptor.stop()
        self._address = ""
        self._stopping = True
        self._update_reading()

    async def close(self) -> None:
        await self.stop_accepting()
        self._closing = True
        for connection in list(self._connections.values()):
            connection.finish()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._no_connections.wait()
        except TimeoutError:
            for connection in list(self._connections.values()):
                connection.abort()
            await self._no_connections.wait()
        await self._tasks.cancel()

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._tracking.committed(messages)
        if self._replies.may_answer_only:
            for message in messages:
                if message.link in self._connections and self._tracking.is_answered_only(message):
                    self._connections[message.link].order.unanswered += 1
        self._tell((message, self._to_commit(message)) for message in messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._tracking.refused(messages, refusal)
        self._tell((message, self._tracking.to_refusal(message, refusal)) for message in messages)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        if not self._tracking.batches.waiting:
            deliveries = self._answer_singly(answers)
        else:
            deliveries = self._tracking.batches.answer(
                answers, self._answer_singly, self._tracking.to_answer, self._send_answers, self.delivered
            )
        if self._replies.may_answer_only:
            for message, _ in answers:
                if message.link in self._connections:
                    self._connections[message.link].answered()
        return deliveries

    def _answer_singly(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        replies: dict[str, list[bytes]] = {}
        positions: dict[str, list[int]] = {}
        for position, (message, answer) in enumerate(answers):
            frame = self._tracking.to_answer(message, answer)
            if frame is None:
                deliveries.append(Delivery.NOT_OWED)
                continue
            deliveries.append(Delivery.GONE)
            if message.link in self._connections:
                replies.setdefault(message.link, []).append(frame)
                positions.setdefault(message.link, []).append(position)
        for link, frames in replies.items():
            answered = [answers[position][0] for position in positions[link]]
            delivery = self._send_answers(link, b"".join(frames), answered)
            for position in positions[link]:
                deliveries[position] = delivery
        return deliveries

    def forward(self, message: InboundMessage) -> str:
        header = header_of(message)
        if not isinstance(message.origin, Tracked):
            message.origin = header
        text = self._reader.read(header, message.body or b"", message.remote)
        if message.number is not None:
            return with_sequence_number(text, message.number)
        # not stored yet: whether it is too long is asked before it has its number
        return with_sequence_number(text, WIDEST) if message.rules.numbered else text

    def key(self, message: InboundMessage) -> str:
        return self._key_path.value(message.body or b"", header_of(message)) if self._key_path is not None else ""

    def pause_reading(self) -> None:
        self._paused = True
        self._update_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._update_reading()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def address(self) -> str:
        return self._address

    @property
    def notices(self) -> Mapping[str, int]:
        return self._notices.counts

    def reasons(self) -> list[str]:
        """Why the channel is not well although it listens, for `medagent status`."""
        certificates = [] if self._certificates is None else self._certificates.reasons(time.time())
        return certificates + self._tracking.reasons()

    async def resync(self, expected: int | None, link: str) -> None:
        """Release links that `verifySeqNo` has frozen, once that is on disk; all of them, or the one of this key.

        They expect `expected` next, or with None whatever number comes. Raises `ChannelError`.
        """
        done = asyncio.get_running_loop().create_future()
        note = self._tracking.release(expected, link, lambda count: None if done.done() else done.set_result(count))
        if note is not None:
            self._context.accept([note])
            if (released := await done) is None:
                raise ChannelError("the queue could not be written; try again")
            if released:
                return
        raise ChannelError(f"channel {self._context.config.name} has no {'link ' + link if link else 'frozen link'}")

    # what follows is called by the connections

    @property
    def may_read(self) -> bool:
        return not (self._paused or self._stopping)

    def opened(self, connection: Connection) -> None:
        self._connections[connection.link] = connection
        self._no_connections.clear()
        if self._closing:
            connection.abort()
        elif self._certificates is not None and not self._certificates.admit(connection.peer_certificate):
            self._notices.add("connection refused", f"no name of the certificate is in allowNames, from {connection.remote}")
            connection.abort()

    def received(self, connection: Connection, events: Sequence[FrameEvent]) -> None:
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
            if is_batch(event.body):
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
                if is_transport_block(event.body):
                    self._note_block(event.body, connection)
                else:
                    self._notices.add("frame without an HL7 message", f"{error}, from {connection.remote}")
                    frames += _placed(messages, self._reject(event.body, str(error), error.code))
                continue
            if self._allowed_senders is not None and header not in self._allowed_senders:
                self._notices.add("sender not allowed", f"from {connection.remote}")
                reply = self._replies.to_unacceptable(header, _NOT_ALLOWED, INTERNAL_ERROR)
            elif is_acknowledgment(header, event.body) and not self._replies.takes(header):
                self._notices.add("acknowledgment ignored", f"from {connection.remote}", logging.DEBUG)
                reply = self._replies.to_ignored()
            elif (objection := self._acceptance.objection(header, event.body)) is not None:
                self._notices.add("message not accepted", f"{objection.text}{objection.detail}, from {connection.remote}")
                reply = self._replies.to_unacceptable(header, objection.text, objection.error_code, objection.error_field)
            else:
                remote, link, sender = connection.remote, connection.link, sender_of(header)
                messages.append(InboundMessage(event.body, header.control_id, remote, link, header, self._rules, sender))
                continue
            frames += _placed(messages, reply)
        accepted += self._prepare(connection, messages, frames)
        if accepted:
            self._context.accept(accepted)
        if due := connection.order.due():
            connection.send(b"".join(due))

    def held_changed(self, change: int) -> None:
        self._guard.held_changed(change)

    def watch(self, connection: Connection) -> None:
        self._guard.watch(connection)

    def delivered(self, messages: Sequence[InboundMessage], delivery: Delivery) -> None:
        self._context.delivered([(message, delivery) for message in messages])

    def closed(self, connection: Connection) -> None:
        del self._connections[connection.link]
        if unanswered := self._tracking.batches.closed(connection.link):
            self.delivered(unanswered, Delivery.GONE)
        self._guard.ended(connection)
        if self._acceptor is not None:
            self._acceptor.ended(connection)
        if not self._connections:
            self._no_connections.set()
        if connection.inside_frame and not connection.aborted:
            text = f"dropped {connection.describe_pending()}, from {connection.remote}"
            self._notices.add("connection lost in a frame", text)

    # inner workings

    def _make_connection(self) -> Connection:
        return Connection(self, self._context.max_body_bytes, self._limits)

    def _update_reading(self) -> None:
        for connection in self._connections.values():
            connection.update_reading()

    def _prepare(self, connection: Connection, messages: list[InboundMessage], frames: list[Placed]) -> list[InboundMessage]:
        """What is handed over of these messages; `frames` have their places among them."""
        prepared = self._tracking.prepare(messages)
        connection.order.add(prepared, frames)
        return prepared

    def _examine(self, header: Header, body: bytes) -> Fault | None:
        """What is to be said against a message of a batch."""
        if self._allowed_senders is not None and header not in self._allowed_senders:
            return Fault(_NOT_ALLOWED, INTERNAL_ERROR)
        objection = self._acceptance.objection(header, body)
        if objection is None:
            return None
        return Fault(objection.text, objection.error_code, objection.error_field, detail=objection.detail)

    def _to_commit(self, message: InboundMessage) -> bytes | None:
        origin = message.origin
        return self._replies.to_commit(origin) if isinstance(origin, Header) else self._tracking.to_commit(message)

    def _send_answers(self, link: str, data: bytes, answered: Sequence[InboundMessage]) -> Delivery:
        connection = self._connections.get(link)
        return Delivery.GONE if connection is None else connection.send(data, answered)

    def _tell(self, replies: Iterable[tuple[InboundMessage, bytes | None]]) -> None:
        """Send each frame to the connection of its message, in the order of what came in, with one write a connection."""
        by_link: dict[str, list[tuple[InboundMessage, bytes | None]]] = {}
        for reply in replies:
            by_link.setdefault(reply[0].link, []).append(reply)
        for link, decided in by_link.items():
            if link in self._connections:
                connection = self._connections[link]
                connection.tell(connection.order.decide(decided))

    def _handle_fault(self, connection: Connection, event: FrameEvent) -> bytes | None:
        """Note what is no frame; return the answer to it, if there can be one."""
        limit = self._context.max_body_bytes
        note_fault(event, connection, self._notices, limit)
        if isinstance(event, Oversize):
            text = f"The message is longer than {limit} bytes"
            if is_batch(event.head):
                text = f"The batch is longer than {limit} bytes: send its messages in several"
            return self._reject(event.head, text, INTERNAL_ERROR)
        return self._replies.to_unreadable() if isinstance(event, Empty) else None

    def _note_block(self, block: bytes, connection: Connection) -> None:
        """0x06 or 0x15 has come: of MLLP release 2, about an acknowledgment that was sent; never a message."""
        if not self._release2:
            text = f"from {connection.remote}; mllpRelease=2 is for such a device"
            self._notices.add("block of MLLP release 2 ignored", text)
        elif block == NOT_COMMITTED:
            self._notices.add("device did not store an acknowledgment", f"it sent 0x15, from {connection.remote}")

    def _reject(self, body: bytes, text: str, error_code: int) -> bytes | None:
        """The answer to what cannot be read; none if none is owed, or without a header."""
        header = Header.salvage(body)
        if header is None:
            return self._replies.to_unreadable()
        if is_acknowledgment(header, body) and not self._replies.takes(header):
            return self._replies.to_ignored()
        return self._replies.to_unacceptable(header, text, error_code)


def _placed(before: Sequence[InboundMessage], frame: bytes | None) -> list[Placed]:
    return [] if frame is None else [(len(before), frame)]
