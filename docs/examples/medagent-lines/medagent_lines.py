"""The channel type `line`: one message a line over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import cast

from medagent import hookimpl
from medagent.channel import ChannelContext, ChannelFactory
from medagent.config.settings import Parameter, Registry
from medagent.errors import BindFailed
from medagent.listening import sender_of
from medagent.types import AcceptanceRules, Answer, Delivery, InboundMessage, Refusal

RULES = AcceptanceRules(duplicate_window=600.0)
"""A device that sends again does so within ten minutes; later its numbers may have come round."""


@hookimpl
def medagent_register_settings(registry: Registry) -> None:
    registry.add_parameter(
        Parameter("encoding", ("line",), str, "utf-8", "Character set of the lines.", choices=("utf-8", "latin-1"))
    )


@hookimpl
def medagent_register_channel_types(register: Callable[[str, ChannelFactory], None]) -> None:
    register("line", LineChannel)


class LineChannel:
    """Implements `medagent.channel.Channel`."""

    content_type = "text/plain"

    def __init__(self, context: ChannelContext) -> None:
        self.context = context
        self.may_read = True
        self._server: asyncio.Server | None = None
        self._connections: dict[str, LineConnection] = {}
        self._no_connections = asyncio.Event()
        self._no_connections.set()

    async def start(self) -> None:
        config = self.context.config
        host = None if self.context.bind_any else config.host
        try:
            self._server = await asyncio.get_running_loop().create_server(lambda: LineConnection(self), host, config.port)
        except OSError as error:
            raise BindFailed(f"cannot listen on {config.host}:{config.port}: {error.strerror}") from error

    async def stop_accepting(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self.pause_reading()

    async def close(self) -> None:
        await self.stop_accepting()
        for connection in list(self._connections.values()):
            connection.transport.close()  # when what is buffered has been written
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._no_connections.wait()
        for connection in list(self._connections.values()):
            connection.transport.abort()

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            self._tell(message, "stored")

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        for message in messages:
            self._tell(message, "refused")

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        return [self._tell(message, "done" if answer.accepted else "failed") for message, answer in answers]

    def _tell(self, message: InboundMessage, word: str) -> Delivery:
        connection = self._connections.get(message.link)
        if connection is None or connection.transport.is_closing():
            return Delivery.GONE
        connection.transport.write(f"{word} {message.control_id}\n".encode())
        return Delivery.SENT

    def forward(self, message: InboundMessage) -> str:
        return (message.body or b"").decode(str(self.context.config.parameters["encoding"]), "replace")

    def pause_reading(self) -> None:
        self._set_reading(False)

    def resume_reading(self) -> None:
        self._set_reading(True)

    def _set_reading(self, may_read: bool) -> None:
        self.may_read = may_read
        for connection in self._connections.values():
            connection.update_reading()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._server.sockets[0].getsockname()[:2]) if self._server is not None else ""

    # what follows is called by the connections

    def opened(self, connection: LineConnection) -> None:
        self._connections[connection.link] = connection
        self._no_connections.clear()

    def closed(self, connection: LineConnection) -> None:
        del self._connections[connection.link]
        if not self._connections:
            self._no_connections.set()


class LineConnection(asyncio.Protocol):
    """One device."""

    def __init__(self, channel: LineChannel) -> None:
        self.link = secrets.token_hex(8)
        self.transport: asyncio.Transport
        self._channel = channel
        self._remote, self._sender = "", 0
        self._rest = b""
        self._may_write = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        host, port = transport.get_extra_info("peername")[:2]
        self._remote, self._sender = f"{host}:{port}", sender_of(host)
        self._channel.opened(self)
        self.update_reading()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        messages = [self._message(line) for line in lines if line.strip()]
        if messages:
            self._channel.context.accept(messages)
        if len(self._rest) > self._channel.context.max_body_bytes:
            self._channel.context.log.warning("%s closed: a line is too long", self._remote)
            self.transport.abort()

    def _message(self, line: bytes) -> InboundMessage:
        control_id, _, text = line.rstrip(b"\r").partition(b" ")
        name = control_id.decode("ascii", "replace")
        return InboundMessage(text, name, self._remote, self.link, rules=RULES, sender=self._sender)

    def pause_writing(self) -> None:
        self._may_write = False
        self.update_reading()

    def resume_writing(self) -> None:
        self._may_write = True
        self.update_reading()

    def update_reading(self) -> None:
        """Read unless the core is behind, or the device does not read what it is told."""
        if self.transport.is_closing():
            return
        if self._channel.may_read and self._may_write:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.closed(self)
