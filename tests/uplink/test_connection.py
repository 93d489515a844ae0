"""The seam to the websockets library, against its own server and against bytes written by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus
from websockets.frames import BINARY, CLOSE, CONT, PING, TEXT, Close, Frame
from websockets.protocol import State
from websockets.utils import accept_key

from medagent.uplink.connection import BatchConnection

TIMEOUT = 10.0
Script = Callable[[ServerConnection], Awaitable[None]]


class Recorder:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.reads: list[list[bytes]] = []
        self.read = asyncio.Event()
        self.became_writable = asyncio.Event()
        self.was_lost = asyncio.Event()

    def received(self, payloads: list[bytes | bytearray]) -> None:
        self.reads.append([bytes(payload) for payload in payloads])
        self.read.set()

    def writable(self) -> None:
        self.became_writable.set()

    def lost(self) -> None:
        self.was_lost.set()


@contextlib.asynccontextmanager
async def connected(
    script: Script, *, listen: bool = True, max_size: int = 1 << 20, write_limit: int = 1 << 15
) -> AsyncIterator[tuple[BatchConnection, Recorder]]:
    async with serve(script, "127.0.0.1", 0, compression=None, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(
            f"ws://127.0.0.1:{port}",
            create_connection=BatchConnection,
            compression=None,
            proxy=None,
            ping_interval=None,
            max_size=max_size,
            write_limit=write_limit,
        ) as connection:
            assert isinstance(connection, BatchConnection)
            recorder = Recorder()
            if listen:
                connection.listen(recorder)
            yield connection, recorder


def raw(*frames: Frame) -> bytes:
    return b"".join(frame.serialize(mask=False, extensions=[]) for frame in frames)


def sends(*frames: Frame) -> Script:
    async def script(server: ServerConnection) -> None:
        server.transport.write(raw(*frames))
        await server.wait_closed()

    return script


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
async def test_frames_that_come_with_the_head_of_the_response(size: int) -> None:
    """However both are cut into reads."""
    accepted: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in request.decode().split("\r\n") if line.lower().startswith("sec-websocket-key"))
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key.partition(': ')[2])}\r\n\r\n"
        )
        data = head.encode() + raw(Frame(TEXT, b"first"), Frame(PING, b""), Frame(TEXT, b"second"))
        for begin in range(0, len(data), size):
            writer.write(data[begin : begin + size])
            await writer.drain()
            await asyncio.sleep(0)
        accepted.append(await reader.read(1))
        writer.close()

    async with asyncio.timeout(TIMEOUT), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        recorder = Recorder()
        async with connect(f"ws://127.0.0.1:{port}", create_connection=BatchConnection, proxy=None) as connection:
            assert isinstance(connection, BatchConnection)
            connection.listen(recorder)
            while [text for read in recorder.reads for text in read] != [b"first", b"second"]:
                recorder.read.clear()
                await recorder.read.wait()
            await connection.close()
        assert accepted, "the ping is answered"


async def test_a_long_response_that_is_no_handshake_is_read_at_once() -> None:
    reads: list[int] = []

    class Counting(BatchConnection):
        def send_data(self) -> None:  # once for each piece that the library gets
            reads.append(1)
            super().send_data()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100000\r\n\r\n" + b"\n" * 100_000)
        await writer.drain()
        writer.close()

    async with asyncio.timeout(TIMEOUT), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(InvalidStatus):
            await connect(f"ws://127.0.0.1:{port}", create_connection=Counting, proxy=None)
    assert len(reads) < 100


async def test_all_messages_of_one_read_come_as_one_list() -> None:
    frames = [Frame(TEXT, f"{number}".encode()) for number in range(500)]
    async with asyncio.timeout(TIMEOUT), connected(sends(*frames)) as (_, recorder):
        await recorder.read.wait()
        assert recorder.reads == [[frame.data for frame in frames]]


async def test_messages_are_kept_until_someone_listens() -> None:
    async with asyncio.timeout(TIMEOUT), connected(sends(Frame(TEXT, b"early")), listen=False) as (connection, recorder):
        await (await connection.ping())  # the pong comes after the message
        connection.listen(recorder)
        assert recorder.reads == [[b"early"]]


async def test_text_binary_and_fragments_are_all_messages() -> None:
    script = sends(
        Frame(BINARY, b"binary"),
        Frame(TEXT, b"", fin=False),
        Frame(CONT, b"frag", fin=False),
        Frame(PING, b"between"),
        Frame(CONT, b"ments"),
        Frame(BINARY, b"\xff not UTF-8"),
    )
    async with asyncio.timeout(TIMEOUT), connected(script) as (connection, recorder):
        await recorder.read.wait()
        assert recorder.reads == [[b"binary", b"fragments", b"\xff not UTF-8"]]
        assert connection.writable


async def test_fragments_over_several_reads_become_one_message() -> None:
    go_on = asyncio.Event()

    async def script(server: ServerConnection) -> None:
        server.transport.write(raw(Frame(TEXT, b"whole"), Frame(TEXT, b"one", fin=False)))
        await go_on.wait()
        server.transport.write(raw(Frame(CONT, b"two"), Frame(TEXT, b"three")))
        await server.wait_closed()

    async with asyncio.timeout(TIMEOUT), connected(script) as (_, recorder):
        await recorder.read.wait()
        assert recorder.reads == [[b"whole"]]
        recorder.read.clear()
        go_on.set()
        await recorder.read.wait()
        assert recorder.reads[1:] == [[b"onetwo", b"three"]]


async def test_many_messages_in_one_write() -> None:
    arrived: asyncio.Future[list[str | bytes]] = asyncio.get_running_loop().create_future()

    async def script(server: ServerConnection) -> None:
        arrived.set_result([await server.recv() for _ in range(300)])

    payloads = [f"{number} é".encode() for number in range(300)]
    async with asyncio.timeout(TIMEOUT), connected(script) as (connection, _):
        connection.write(payloads)
        assert await arrived == [payload.decode() for payload in payloads]


async def test_a_full_buffer_is_seen_and_its_end_is_told() -> None:
    read_on = asyncio.Event()

    async def script(server: ServerConnection) -> None:
        await read_on.wait()
        async for _ in server:
            pass

    async with asyncio.timeout(TIMEOUT), connected(script, write_limit=1 << 16) as (connection, recorder):
        written = 0
        while connection.writable:
            connection.write([b"x" * (1 << 18)])
            written += 1
            assert written < 1000
        read_on.set()
        await recorder.became_writable.wait()
        assert connection.writable


async def test_a_message_too_long_ends_the_connection_after_what_came_before_it() -> None:
    script = sends(Frame(TEXT, b"good"), Frame(TEXT, b"x" * 2000), Frame(TEXT, b"after"))
    async with asyncio.timeout(TIMEOUT), connected(script, max_size=1000) as (connection, recorder):
        await recorder.was_lost.wait()
        assert recorder.reads == [[b"good"]]
        assert connection.protocol.close_sent == Close(1009, "frame with 2000 bytes exceeds limit of 1000 bytes")
        assert not connection.writable


@pytest.mark.parametrize("cut", [False, True])
async def test_the_end_is_told_once_closing_begins(cut: bool) -> None:
    async def script(server: ServerConnection) -> None:
        if cut:
            server.transport.abort()
        else:
            server.transport.write(raw(Frame(TEXT, b"last"), Frame(CLOSE, Close(1001, "").serialize())))
        await server.wait_closed()

    async with asyncio.timeout(TIMEOUT), connected(script) as (connection, recorder):
        await recorder.was_lost.wait()
        assert recorder.reads == ([] if cut else [[b"last"]])
        assert connection.protocol.state is not State.OPEN
        connection.write([b"nobody there"])


async def test_pings_of_both_sides_are_answered() -> None:
    answered = asyncio.Event()

    async def script(server: ServerConnection) -> None:
        await (await server.ping())
        answered.set()
        await server.wait_closed()

    async with asyncio.timeout(TIMEOUT), connected(script) as (connection, _):
        await answered.wait()
        await (await connection.ping())
