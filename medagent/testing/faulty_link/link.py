"""The proxy: sockets on both sides of what `Course` decides."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from medagent.tasks import Tasks
from medagent.testing.faulty_link.course import Course
from medagent.testing.faulty_link.faults import Armed, BlackHole, Cut, Delay, Direction, Fault, Inject
from medagent.testing.mllp import reset
from medagent.testing.uplink import Watched

_READ_BYTES = 65_536


class FaultyLink(Watched):
    """Listens on a free loopback port, and passes each connection on to a server, while used as an async context manager.

    Without a fault it passes everything as it comes; `arm` has one strike at its place, `cut` ends what is open now, and
    `refuse` takes no new connections until `accept`. It can be used before any server and any client that speak over TCP;
    faults of messages need a WebSocket (RFC 6455) without TLS.
    """

    def __init__(self, host: str, port: int, *, forget_after: float = 5.0) -> None:
        """`host` and `port` are the server's. `forget_after`: seconds that the rest of a connection stays whose other end went
        away behind a black hole."""
        super().__init__()
        self.port = 0
        """Where it listens; stays the same."""
        self.accepted = 0
        """Connections of clients so far, refused ones left out."""
        self._target = (host, port)
        self._forget_after = forget_after
        self._server: asyncio.Server | None = None
        self._refusing = False
        self._armed: list[Armed] = []
        self._open: set[_Connection] = set()
        self._tasks = Tasks()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_listening()
        self.cut()
        await self._tasks.cancel()

    @property
    def connections(self) -> int:
        """Connections that are open, on either side; `until` can wait for a number of them."""
        return len(self._open)

    def arm(self, direction: Direction, fault: Fault) -> Armed:
        """Have a fault strike at its place, on the connection that comes there first. Several can be armed at a time."""
        armed = Armed(direction, fault)
        self._armed = [*(each for each in self._armed if each.live), armed]
        for connection in self._open:
            connection.arm(armed)
        return armed

    def disarm(self) -> None:
        """Forget the faults that have not struck."""
        for armed in self._armed:
            armed.disarmed = True
        self._armed.clear()

    def cut(self, *, by_reset: bool = True) -> None:
        """End all connections that are open now, by RST or by FIN."""
        for connection in list(self._open):
            connection.cut(by_reset=by_reset)

    async def refuse(self, *, listening: bool = False) -> None:
        """Take no new connections: nobody listens, or each is accepted and closed at once."""
        self._refusing = True
        if not listening:
            await self._stop_listening()

    async def accept(self) -> None:
        """Take connections again, on the same port. Raises `OSError` if somebody else has taken it."""
        self._refusing = False
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)  # the loop closes the socket in its next turn

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.close()
        else:
            self.accepted += 1
            self.change()
            self._tasks.spawn(self._serve(reader, writer), "connection of a faulty link")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        ways = (
            _Way(Direction.TO_SERVER, reader, server_writer),
            _Way(Direction.TO_CLIENT, server_reader, writer),
        )
        connection = _Connection(*ways, forget_after=self._forget_after)
        for armed in self._armed:
            connection.arm(armed)
        self._open.add(connection)
        self.change()
        try:
            await connection.run()
        finally:
            self._open.discard(connection)
            self.change()


class _Way:
    """One direction of a connection."""

    def __init__(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.direction = direction
        self.reader = reader
        self.writer = writer
        self.course = Course()
        self.dark = False
        """A black hole has struck."""
        # nothing is kept here: a peer that does not read holds the other one up, and a cut is where it was asked for
        writer.transport.set_write_buffer_limits(high=0)


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, to_server: _Way, to_client: _Way, *, forget_after: float) -> None:
        self._ways = (to_server, to_client)
        self._forget_after = forget_after

    def arm(self, armed: Armed) -> None:
        for way in self._ways:
            if way.direction is armed.direction:
                way.course.arm(armed)

    def cut(self, *, by_reset: bool) -> None:
        for way in self._ways:
            if by_reset:
                reset(way.writer)
            else:
                way.writer.close()

    async def run(self) -> None:
        """Pass everything on until both directions have ended."""
        try:
            await asyncio.gather(*(self._carry(way) for way in self._ways))
        finally:
            for way in self._ways:
                way.writer.close()
            for way in self._ways:
                with contextlib.suppress(OSError):  # it may have been lost before
                    await way.writer.wait_closed()

    async def _carry(self, way: _Way) -> None:
        try:
            while data := await way.reader.read(_READ_BYTES):
                await self._pass(way, data)
        except OSError:
            # a reset of one side is one of both, unless the other cannot be told
            if not way.dark:
                self.cut(by_reset=True)
        if way.dark:
            await asyncio.sleep(self._forget_after)
            self.cut(by_reset=True)
        elif not way.writer.is_closing():
            with contextlib.suppress(OSError):  # it has gone by itself meanwhile
                way.writer.write_eof()

    async def _pass(self, way: _Way, data: bytes) -> None:
        for step in way.course.take(data):
            if way.dark or way.writer.is_closing():
                return
            if isinstance(step, bytes):
                way.writer.write(step)
                continue
            step.struck.set()
            match step.fault:
                case Cut(reset=by_reset):
                    await way.writer.drain()
                    self.cut(by_reset=by_reset)
                case BlackHole():
                    way.dark = True
                case Delay(seconds=seconds):
                    await asyncio.sleep(seconds)
                case Inject(data=injected):
                    way.writer.write(injected)
        if not way.dark:
            await way.writer.drain()
