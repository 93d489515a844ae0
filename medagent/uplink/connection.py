"""A WebSocket connection that works in batches: one list per read, one write per list.

Awaiting `send` and `recv` for each message costs more than twice the time of everything else that the agent does with it.
`process_event` and `data_received` of websockets are not documented, hence the upper bound on its version.

Compression (permessage-deflate, RFC 7692) is offered for what the server sends; what the agent sends is in the extension's
format without being made shorter, since a length that depends on both the token and a device's data tells of the token
(RFC 7457, 2.6; docs/decisions/013-compression-one-way.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidMessage
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import BINARY, CONT, TEXT, CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from medagent.uplink.websocket_frames import FrameCutter, text_frames

_END_OF_HEAD = b"\r\n\r\n"


def extensions() -> list[ClientPerMessageDeflateFactory]:
    """What is offered to the server."""
    return [ClientPerMessageDeflateFactory(compress_settings={"level": 0})]


class Listener(Protocol):
    """Who is told what happens on a connection. Must not raise."""

    def received(self, payloads: list[bytes | bytearray]) -> None:
        """The data messages that one read has completed, in order, text as its UTF-8 bytes; none if the read was within one."""

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
        self._head_read = False
        """The head of the server's HTTP response has come."""
        self._end_so_far = b""
        """The last bytes of what has come of it."""
        self._cutter = FrameCutter(protocol.max_message_size)
        self._gathered: list[bytes | bytearray] = []
        self._partial: bytearray | None = None
        """What has come of a fragmented message."""
        self._opcode = Opcode.BINARY
        """Of the message that `_partial` belongs to."""
        self._failed = False
        """The server has sent what no server may: nothing more is taken from it."""

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

    def _is_open(self) -> bool:
        return self.protocol.state is State.OPEN

    @property
    def writable(self) -> bool:
        """Open, and not more than the write limit waits in the buffer."""
        return not self.paused and self._is_open()

    @property
    def backlog(self) -> int:
        """Bytes that wait for the socket."""
        return self.transport.get_write_buffer_size()

    def write(self, payloads: Sequence[bytes]) -> None:
        """Send each payload as a text message, all in one write; nothing when the connection is not open."""
        protocol = self.protocol
        if not self._is_open():
            return
        if protocol.extensions:
            for payload in payloads:
                protocol.send_text(payload)
            self.transport.write(b"".join(protocol.data_to_send()))
        else:
            self.transport.write(b"".join([*protocol.data_to_send(), *text_frames(payloads)]))

    def data_received(self, data: bytes) -> None:
        if not self._head_read:
            # by itself, for the frames begin after it
            end = self._end_of_head(data)
            super().data_received(data[:end])
            data = data[end:]
        if self._is_open():
            for texts, rest in self._cutter.cut(data):
                for text in texts:
                    self._gather(text, Opcode.TEXT)
                if rest:
                    super().data_received(rest)
                if not self._is_open():
                    break  # the library has no use for anything that follows
        elif data:
            super().data_received(self._cutter.give_up() + data)
        self._hand_over()

    def _end_of_head(self, data: bytes) -> int:
        """Where the head of the server's HTTP response ends in these bytes; their end if it goes on."""
        seen = self._end_so_far + data
        end = seen.find(_END_OF_HEAD)
        self._head_read = end >= 0
        if not self._head_read:
            self._end_so_far = seen[-len(_END_OF_HEAD) + 1 :]
            return len(data)
        return end + len(_END_OF_HEAD) - len(self._end_so_far)

    def process_event(self, event: Request | Response | Frame) -> None:
        if not isinstance(event, Frame) or event.opcode not in (TEXT, BINARY, CONT):
            super().process_event(event)
        elif event.fin and self._partial is None:
            self._gather(bytes(event.data) if isinstance(event.data, memoryview) else event.data, event.opcode)
        else:
            if self._partial is None:
                self._partial, self._opcode = bytearray(), event.opcode
            self._partial += event.data
            if event.fin:
                whole, self._partial = self._partial, None
                self._gather(whole, self._opcode)

    def _gather(self, payload: bytes | bytearray, opcode: Opcode) -> None:
        if self._failed:
            return
        if opcode is TEXT and not payload.isascii():
            try:
                payload.decode()
            except UnicodeDecodeError as error:  # RFC 6455, 8.1
                self._failed = True
                self.protocol.fail(CloseCode.INVALID_DATA, f"text that is not UTF-8, at byte {error.start}")
                self.send_data()
                return
        self._gathered.append(payload)

    @property
    def _within_message(self) -> bool:
        """A part of a message has come, and its end has not."""
        return self._partial is not None or self._cutter.within

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
        if self._gathered or self._within_message:
            gathered, self._gathered = self._gathered, []
            self._listener.received(gathered)
        if not self._is_open():
            self._listener.lost()
