"""One connection to the server, from the open WebSocket to its end: the session's inputs and outputs joined to a socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from websockets.frames import CloseCode

from medagent.uplink.base import TOO_BIG, Transmit, UplinkContext
from medagent.uplink.connection import BatchConnection
from medagent.uplink.session import Answered, Connected, Dead, Event, Failed, Ignored, Requested, Session, Step

WRITE_BYTES = 256 * 1024
"""Transmits are encoded and written in portions of about this many bytes."""
CLOSE_TIMEOUT = 2.0
"""Seconds for the closing handshake; then the socket is cut."""

log = logging.getLogger(__name__)


class Link:
    """A `Listener` of one connection, which ends when the session says so or the connection is lost."""

    def __init__(
        self,
        connection: BatchConnection,
        session: Session,
        context: UplinkContext,
        *,
        token: str,
        connected: Callable[[], None],
        writable: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`token` is the one to connect with; `connected` is called when the server has accepted this agent,
        `writable` before the handler's: what else waits goes first."""
        self.token = token
        """The token last sent."""
        self.connected_at: float | None = None
        """When the server accepted this agent, by `clock`."""
        self.answered = False
        """The server has answered a transmit: the connection was of use."""
        self._connection = connection
        self._session = session
        self._context = context
        self._connected = connected
        self._writable = writable
        self._clock = clock
        self._end: asyncio.Future[Dead] = asyncio.get_running_loop().create_future()
        self._ignored = False

    @property
    def connected(self) -> bool:
        """`transmit` may take messages."""
        return self._session.connected

    @property
    def writable_now(self) -> bool:
        """Connected, and the socket takes more."""
        return self._session.connected and self._connection.writable

    async def serve(self, tick: float) -> Dead:
        """Work until the connection is of no more use; `tick` is how often the session looks at the clock, seconds."""
        self._connection.write(self._session.opened(self.token, self._clock()))
        self._connection.listen(self)
        backlog = 0
        while not self._end.done():
            await asyncio.wait([self._end], timeout=tick)
            before, backlog = backlog, self._connection.backlog
            self._apply(self._session.tick(self._clock(), taken=backlog < before))
        return self._end.result()

    def transmit(self, messages: Sequence[Transmit], token: str) -> int:
        """Write messages in order while the socket takes them; returns how many were taken."""
        self.token = token
        taken = 0
        while taken < len(messages) and self._connection.writable:
            frames = self._session.transmit(messages, taken, token, WRITE_BYTES)
            if not frames:
                break
            self._connection.write(frames)
            taken += len(frames)
        return taken

    def write(self, frame: bytes) -> None:
        """Send one frame, if the connection is still there."""
        self._connection.write([frame])

    def end(self, dead: Dead) -> None:
        """Stop working; the first reason counts."""
        self._session.closed()
        if not self._end.done():
            self._end.set_result(dead)

    async def close(self) -> None:
        """Close the connection, cleanly if the server plays its part in time."""
        self._session.closed()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._connection.close()
        except TimeoutError:
            pass
        finally:
            self._connection.transport.abort()
            await self._connection.wait_closed()

    def received(self, payloads: list[bytes | bytearray]) -> None:
        self._apply(self._session.receive(payloads, self._clock()))

    def writable(self) -> None:
        if self._session.connected:
            with self._guard():
                self._writable()
                self._context.handler.writable()

    def lost(self) -> None:
        if self._end.done():
            return
        protocol = self._connection.protocol
        if protocol.close_rcvd is not None and protocol.close_rcvd_then_sent:
            code = protocol.close_rcvd.code
            if code == CloseCode.MESSAGE_TOO_BIG and self._session.connected:
                # the server names no message here either; unless the dispatcher finds it, it is sent again for ever
                with self._guard():
                    self._context.handler.failed(TOO_BIG)
            self.end(Dead(f"the server closed the connection with code {code}"))
        elif protocol.close_sent is not None and not protocol.close_rcvd_then_sent:
            # nobody but the library closes while the link is at work; its reasons quote no content
            self.end(Dead(f"the server sent what cannot be taken: {protocol.close_sent.reason or 'unknown'}"))
        else:
            self.end(Dead("the connection was lost"))

    def _apply(self, step: Step) -> None:
        if step.frames:
            self._connection.write(step.frames)
        with self._guard():
            for event in step.events:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case Answered(responses):
                self.answered = True
                self._context.handler.answered(responses)
            case Connected():
                self.connected_at = self._clock()
                self._connected()
            case Failed(text):
                self._context.handler.failed(text)
            case Requested(request):
                self._context.requested(request)
            case Ignored():
                if not self._ignored:
                    self._ignored = True
                    log.warning("the server sent a frame that is not understood; it is ignored, and so are more of them")
            case Dead():
                self.end(event)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """End the connection if a receiver raises: what it was told may be lost, and is sent again after a reconnect."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  in the transport it would be logged with its text, which may quote data
            log.error("what the server sent could not be handled: %s", type(error).__name__)
            self.end(Dead("what the server sent could not be handled"))
