"""A small MLLP receiver for tests of senders, written without the HL7 plugin so that the two cannot agree on a mistake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Self, cast

from medagent.testing.mllp import END_BLOCK, START_BLOCK, framed

Respond = Callable[[bytes], Iterable[bytes] | None]
"""From a message's body to the bodies to answer with; None closes the connection."""


def acknowledge(body: bytes, *codes: str) -> list[bytes]:
    """One acknowledgment for each code of a message whose delimiters are `|^~\\&`."""
    msh = body.split(b"\r", 1)[0].split(b"|")
    return [
        b"\r".join((b"MSH|%b|||||||ACK|A%b|P|%b" % (msh[1], msh[9], msh[11]), b"MSA|%b|%b" % (code.encode(), msh[9]), b""))
        for code in codes
    ]


def accept(body: bytes) -> list[bytes]:
    """Answer AA. The default."""
    return acknowledge(body, "AA")


class MllpServer:
    """Listens on a free loopback port while used as an async context manager."""

    def __init__(self, respond: Respond = accept, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.respond = respond
        """Can be replaced at any time."""
        self.received: list[bytes] = []
        """Bodies in the order they came, of all connections."""
        self.connections: list[ServerConnection] = []
        """In the order they were opened, closed ones too."""
        self.sender: ServerConnection | None = None
        """While `respond` is called: the connection that the message came on."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: ServerConnection(self), "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def take(self, body: bytes) -> Iterable[bytes] | None:
        """For the connections: note a message and find its answers."""
        self.received.append(body)
        for count, future in self._waiting:
            if len(self.received) >= count and not future.done():
                future.set_result(None)
        return self.respond(body)

    async def wait_for(self, count: int, timeout: float = 10.0) -> None:
        """Wait until so many messages have come. Raises `TimeoutError`."""
        if len(self.received) < count:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((count, future))
            async with asyncio.timeout(timeout):
                await future


class ServerConnection(asyncio.Protocol):
    """One sender's connection."""

    def __init__(self, server: MllpServer) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a TCP server makes no other kind
        self._server.connections.append(self)

    def data_received(self, data: bytes) -> None:
        *frames, self._buffer = (self._buffer + data).split(END_BLOCK)
        answers: list[bytes] = []
        for frame in frames:
            self._server.sender = self
            found = self._server.take(frame.removeprefix(START_BLOCK))
            if found is None:
                self._transport.close()
                return
            answers += found
        self.send(*answers)

    def send(self, *bodies: bytes) -> None:
        """Send answers now, whatever was asked."""
        self.send_raw(b"".join(map(framed, bodies)))

    def send_raw(self, data: bytes) -> None:
        self._transport.write(data)

    def abort(self) -> None:
        """Cut the connection."""
        self._transport.abort()
