"""A WebSocket connection that works in batches: one list per read, one write per list.

Awaiting `send` and `recv` for each message costs more than twice the time of everything else that the agent does with it.
`process_event` and `data_received` of websockets are not documented, hence the upper bound on its version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage
from websockets.frames import BINARY, CONT, TEXT, Frame
from websockets.http11 import Request, Response
from websockets.protocol import State


class Listener(Protocol):
    """Who is told what happens on a connection. Must not raise."""

    def received(self, payloads: list[bytes | bytearray]) -> None:
        """The data messages that one read has completed, in order; text as its UTF-8 bytes, not checked."""

    def writable(self) -> None:
        """`BatchConnection.writable` is true again."""

    def lost(self) -> None:
        """The connection is closed or about to be. May be called more than once."""


class BatchConnection(ClientConnection):
    """To be given to `websockets.connect(create_connection=...)`. Do not call `recv` or `send` on it."""

    # the options of ClientConnection, whatever they are
    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._listener: Listener | None = None
        self._gathered: list[bytes | bytearray] = []
        self._partial: bytearray | None = None
        """What has come of a fragmented message."""

    # the arguments of ClientConnection's, whatever they are
    async def handshake(self, *arguments: Any, **options: Any) -> None:
        try:
            await super().handshake(*arguments, **options)
        except InvalidMessage as error:
            # such as that the server misses a client certificate, which TLS 1.3 says after its handshake
            if isinstance(self.connection_exc, OSError):
                raise self.connection_exc from error
            raise

    def listen(self, listener: Listener) -> None:
        """Hand over what has come so far, and from now on what comes."""
        self._listener = listener
        self._hand_over()

    @property
    def writable(self) -> bool:
        """Open, and not more than the write limit waits in the buffer."""
        return not self.paused and self.protocol.state is State.OPEN

    def write(self, payloads: Sequence[bytes]) -> None:
        """Send each payload as a text message, all in one write; nothing when the connection is not open."""
        protocol = self.protocol
        if protocol.state is not State.OPEN:
            return
        for payload in payloads:
            protocol.send_text(payload)
        self.transport.write(b"".join(protocol.data_to_send()))

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._hand_over()

    def process_event(self, event: Request | Response | Frame) -> None:
        if not isinstance(event, Frame) or event.opcode not in (TEXT, BINARY, CONT):
            super().process_event(event)
        elif event.fin and self._partial is None:
            self._gathered.append(bytes(event.data) if isinstance(event.data, memoryview) else event.data)
        else:
            self._partial = self._partial or bytearray()
            self._partial += event.data
            if event.fin:
                self._gathered.append(self._partial)
                self._partial = None

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._listener is not None and self.writable:
            self._listener.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._listener is not None:
            self._listener.lost()

    def _hand_over(self) -> None:
        if self._listener is None:
            return
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._listener.received(gathered)
        if self.protocol.state is not State.OPEN:
            self._listener.lost()
