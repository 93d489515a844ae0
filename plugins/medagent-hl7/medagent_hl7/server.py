"""The `mllp` channel: a listener for HL7 v2 over MLLP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from medagent.channel import ChannelContext
from medagent.types import Answer, Delivery, InboundMessage, Refusal
from medagent_hl7 import charset
from medagent_hl7.acknowledgment import INTERNAL_ERROR
from medagent_hl7.connection import Connection
from medagent_hl7.framing import Broken, Frame, FrameEvent, Junk, Oversize
from medagent_hl7.listening import BACKLOG, format_address, open_sockets
from medagent_hl7.message import Header, Hl7Error
from medagent_hl7.notices import Notices
from medagent_hl7.replies import Replies
from medagent_hl7.settings import Hl7Settings

_CLOSE_SECONDS = 2.0
_MAX_JUNK_BYTES = 65_536


class Hl7Channel:
    """One listener. Implements `medagent.channel.Channel`, whose docstrings hold."""

    content_type = "x-application/hl7-v2+er7"

    def __init__(self, context: ChannelContext) -> None:
        self.log = context.log
        self._context = context
        self._settings = Hl7Settings.from_parameters(context.config.parameters)
        self._replies = Replies(self._settings)
        self._notices = Notices(context.log, context.config.name)
        self._servers: list[asyncio.Server] = []
        self._address = ""
        self._connections: dict[str, Connection] = {}
        """By link."""
        self._no_connections = asyncio.Event()
        self._no_connections.set()
        self._paused = False
        self._stopping = False
        self._closing = False

    async def start(self) -> None:
        config = self._context.config
        sockets = await open_sockets(None if self._context.bind_any else config.host, config.port)
        loop = asyncio.get_running_loop()
        self._servers = [await loop.create_server(self._make_connection, sock=sock, backlog=BACKLOG) for sock in sockets]
        self._address = format_address(sockets[0].getsockname())

    async def stop_accepting(self) -> None:
        for server in self._servers:
            server.close()
        self._servers = []
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

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self._send((message.link, self._replies.to_commit(_header(message))) for message in messages)

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self._send((message.link, self._replies.to_refusal(_header(message), refusal)) for message in messages)

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        deliveries: list[Delivery] = []
        replies: dict[str, list[bytes]] = {}
        positions: dict[str, list[int]] = {}
        for position, (message, answer) in enumerate(answers):
            if not self._replies.is_owed(answer):
                deliveries.append(Delivery.NOT_OWED)
                continue
            deliveries.append(Delivery.GONE)
            if message.link in self._connections:
                replies.setdefault(message.link, []).append(self._replies.to_answer(_header(message), answer))
                positions.setdefault(message.link, []).append(position)
        for link, frames in replies.items():
            answered = [answers[position][0] for position in positions[link]]
            delivery = self._connections[link].send(b"".join(frames), answered)
            for position in positions[link]:
                deliveries[position] = delivery
        return deliveries

    def forward(self, message: InboundMessage) -> str:
        header = _header(message)
        message.origin = header
        codec = charset.codec_of(header, self._settings.codec)
        text, valid = charset.decode(message.body or b"", codec)
        if not valid:
            self._notices.add("message not valid in its character set", f"{codec} expected, from {message.remote}")
        return text

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

    # what follows is called by the connections

    @property
    def may_read(self) -> bool:
        return not (self._paused or self._stopping)

    def opened(self, connection: Connection) -> None:
        self._connections[connection.link] = connection
        self._no_connections.clear()
        if self._closing:
            connection.abort()

    def received(self, connection: Connection, events: Sequence[FrameEvent]) -> None:
        messages: list[InboundMessage] = []
        rejections: list[bytes] = []
        for event in events:
            if not isinstance(event, Frame):
                rejections += self._handle_fault(connection, event)
                continue
            connection.junk_bytes = 0
            try:
                header = Header.parse(event.body)
            except Hl7Error as error:
                self._notices.add("frame without an HL7 message", f"{error}, from {connection.remote}")
                rejections += self._reject(Header.salvage(event.body), str(error), error.code)
                continue
            if header.message_type == "ACK":
                self._notices.add("acknowledgment ignored", f"from {connection.remote}", logging.DEBUG)
            else:
                messages.append(InboundMessage(event.body, header.control_id, connection.remote, connection.link, header))
        if messages:
            self._context.accept(messages)
        if rejections:
            connection.send(b"".join(rejections))

    def delivered(self, messages: Sequence[InboundMessage], delivery: Delivery) -> None:
        self._context.delivered([(message, delivery) for message in messages])

    def closed(self, connection: Connection) -> None:
        del self._connections[connection.link]
        if not self._connections:
            self._no_connections.set()
        if connection.pending_size:
            self._notices.add(
                "connection lost in a frame", f"{connection.pending_size} bytes dropped, from {connection.remote}"
            )

    # inner workings

    def _make_connection(self) -> Connection:
        return Connection(self, self._context.max_body_bytes)

    def _update_reading(self) -> None:
        for connection in self._connections.values():
            connection.update_reading()

    def _send(self, replies: Iterable[tuple[str, bytes | None]]) -> None:
        """Send each frame to the connection of its link, in order, with one write a connection."""
        by_link: dict[str, list[bytes]] = {}
        for link, frame in replies:
            if frame is not None and link in self._connections:
                by_link.setdefault(link, []).append(frame)
        for link, frames in by_link.items():
            self._connections[link].send(b"".join(frames))

    def _handle_fault(self, connection: Connection, event: FrameEvent) -> list[bytes]:
        """Note what is no frame; return the answer to it, if there can be one."""
        peer = f"from {connection.remote}"
        if isinstance(event, Oversize):
            self._notices.add("message too long", f"{event.size} bytes, {peer}")
            text = f"The message of {event.size} bytes is longer than {self._context.max_body_bytes}"
            return self._reject(Header.salvage(event.head), text, INTERNAL_ERROR)
        if isinstance(event, Junk):
            self._notices.add("bytes outside a frame", f"{event.size}{' printable' if event.printable else ''} bytes, {peer}")
            connection.junk_bytes += event.size
            if connection.junk_bytes > _MAX_JUNK_BYTES:
                self._notices.add("connection closed", f"{connection.remote} does not speak MLLP")
                connection.abort()
        elif isinstance(event, Broken):
            self._notices.add("frame without an end", f"{event.size} bytes dropped, {peer}")
        else:
            self._notices.add("empty frame", peer)
        return []

    def _reject(self, header: Header | None, text: str, error_code: int) -> list[bytes]:
        """The answer to an unacceptable message; none without a header, and none to an acknowledgment."""
        if header is None or header.message_type == "ACK":
            return []
        return [self._replies.to_unacceptable(header, text, error_code)]


def _header(message: InboundMessage) -> Header:
    """The header a message was accepted with; for one read back from disk, of its body."""
    return message.origin if isinstance(message.origin, Header) else Header.parse(message.body or b"")
