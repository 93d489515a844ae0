"""The proxy between real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from medagent.testing.faulty_link import (
    BlackHole,
    Cut,
    Delay,
    Direction,
    DropMessage,
    DuplicateMessage,
    FaultyLink,
    Inject,
)

TO_SERVER, TO_CLIENT = Direction.TO_SERVER, Direction.TO_CLIENT
TIMEOUT = 5.0


class Server:
    """Keeps what each connection sends, and echoes it."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ends: asyncio.Queue[str] = asyncio.Queue()
        """How each connection ended."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.received)
        self.received.append(b"")
        try:
            while data := await reader.read(1000):
                self.received[number] += data
                writer.write(data)
            self.ends.put_nowait("end")
        except ConnectionError:
            self.ends.put_nowait("reset")
        finally:
            writer.close()

    async def end(self) -> str:
        async with asyncio.timeout(TIMEOUT):
            return await self.ends.get()


class Client:
    """One connection over the link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def all(self) -> tuple[bytes, str]:
        """What comes until the connection ends, and how it does."""
        received = b""
        try:
            async with asyncio.timeout(TIMEOUT):
                while data := await self.reader.read(1000):
                    received += data
        except ConnectionError:
            return received, "reset"
        return received, "end"

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(TIMEOUT):
            return await self.reader.readexactly(count)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def link(server: Server) -> AsyncIterator[FaultyLink]:
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listener, FaultyLink("127.0.0.1", listener.sockets[0].getsockname()[1], forget_after=0.05) as link:
        yield link


@pytest.fixture
async def client(link: FaultyLink) -> AsyncIterator[Client]:
    async with connected(link) as client:
        await link.until(lambda: link.connections)
        yield client


@contextlib.asynccontextmanager
async def connected(link: FaultyLink) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


async def test_everything_passes_and_ends_pass_too(server, client):
    sent = bytes(range(256)) * 2000
    client.writer.write(sent)
    assert await client.exactly(len(sent)) == sent
    client.writer.write_eof()
    assert await client.all() == (b"", "end")
    assert await server.end() == "end"


@pytest.mark.parametrize("by_reset", [True, False])
async def test_a_cut_on_the_way_to_the_server(server, link, client, by_reset):
    armed = link.arm(TO_SERVER, Cut(4, reset=by_reset))
    client.writer.write(b"abcdef")
    _, end = await client.all()
    assert end == await server.end() == ("reset" if by_reset else "end")
    assert server.received == [b"abcd"]
    assert armed.struck.is_set()


@pytest.mark.parametrize("by_reset", [True, False])
async def test_a_cut_on_the_way_to_the_client(server, link, client, by_reset):
    link.arm(TO_CLIENT, Cut(4, reset=by_reset))
    client.writer.write(b"abcdef")
    assert await client.all() == (b"abcd", "reset" if by_reset else "end")
    assert await server.end() == ("reset" if by_reset else "end")


async def test_a_fault_strikes_once_on_the_connection_that_comes_first(link, client):
    link.arm(TO_SERVER, Cut(4))
    client.writer.write(b"abc")
    assert await client.exactly(3) == b"abc"
    async with connected(link) as second:
        second.writer.write(b"abcd")
        await second.all()
    client.writer.write(b"defgh")
    assert await client.exactly(5) == b"defgh"


async def test_behind_a_black_hole_the_other_direction_goes_on(server, link, client):
    client.writer.write(b"ab")
    await client.exactly(2)
    hole = link.arm(TO_CLIENT, BlackHole(1))
    client.writer.write(b"cdef")
    assert await client.exactly(1) == b"c"
    await hole.struck.wait()
    client.writer.write(b"gh")
    async with asyncio.timeout(TIMEOUT):
        while server.received != [b"abcdefgh"]:
            await asyncio.sleep(0)
    assert not client.reader.at_eof()
    client.writer.close()
    assert await server.end() == "end"
    await link.until(lambda: not link.connections)


async def test_a_client_that_gives_up_behind_a_black_hole_is_forgotten_later(server, link, client):
    link.arm(TO_SERVER, BlackHole(0))
    client.writer.write(b"ab")
    client.writer.close()
    assert await server.end() == "reset"
    assert server.received == [b""]
    await link.until(lambda: not link.connections)


async def test_delays_and_injections_keep_the_connection(server, link, client):
    delay = link.arm(TO_SERVER, Delay(2, 0.01))
    link.arm(TO_CLIENT, Inject(3, b"???"))
    client.writer.write(b"abcdef")
    assert await client.exactly(9) == b"abc???def"
    assert delay.struck.is_set()


async def test_a_disarmed_fault_does_not_strike(link, client):
    armed = link.arm(TO_SERVER, Cut(0))
    link.disarm()
    client.writer.write(b"ab")
    assert await client.exactly(2) == b"ab"
    assert not armed.struck.is_set()


async def test_all_connections_are_cut(server, link, client):
    async with connected(link) as second:
        await link.until(lambda: link.connections == 2)
        link.cut()
        assert [(await each.all())[1] for each in (client, second)] == ["reset", "reset"]
    await link.until(lambda: not link.connections)


async def test_nobody_listens_and_then_somebody_does(link, client):
    await link.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", link.port)
    client.writer.write(b"ab")
    assert await client.exactly(2) == b"ab"
    await link.accept()
    async with connected(link) as second:
        second.writer.write(b"cd")
        assert await second.exactly(2) == b"cd"


async def test_connections_are_accepted_and_closed_at_once(server, link):
    await link.refuse(listening=True)
    async with connected(link) as client:
        assert await client.all() == (b"", "end")
    assert (server.received, link.accepted) == ([], 0)


async def test_without_a_server_a_connection_is_closed():
    free = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = free.sockets[0].getsockname()[1]
    free.close()
    await free.wait_closed()
    async with FaultyLink("127.0.0.1", port) as link, connected(link) as client:
        assert await client.all() == (b"", "end")


async def test_messages_of_a_websocket_are_doubled_and_dropped_in_both_directions():
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with FaultyLink("127.0.0.1", port) as link:
            link.arm(TO_SERVER, DuplicateMessage(1))
            link.arm(TO_SERVER, DropMessage(2))
            link.arm(TO_CLIENT, DuplicateMessage(3))
            async with connect(f"ws://127.0.0.1:{link.port}", compression=None, proxy=None) as client:
                for message in ("one", "two", "three", "four"):
                    await client.send(message)
                async with asyncio.timeout(TIMEOUT):
                    assert [await client.recv() for _ in range(5)] == ["one", "one", "three", "three", "four"]
