"""The MLLP client for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from medagent.testing.mllp import MllpClient, framed

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_frames_are_sent_in_one_write_and_bodies_received() -> None:
    received = asyncio.Queue[bytes]()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.readexactly(len(b"\x0bone\x1c\r\x0btwo\x1c\r")))
        writer.write(b"\x0bfirst\x1c\r\x0bsecond\r\x1c\r")
        await reader.read()

    async with listening(handler) as port, await MllpClient.connect("127.0.0.1", port) as client:
        await client.send(b"one", b"two")
        assert await received.get() == framed(b"one") + framed(b"two")
        assert [await client.receive(), await client.receive()] == [b"first", b"second\r"]
        with pytest.raises(TimeoutError):
            await client.receive(timeout=0.01)


async def test_a_half_frame_and_its_rest_make_the_frame() -> None:
    received = asyncio.Queue[bytes]()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.readexactly(3))
        received.put_nowait(await reader.readexactly(5))
        await reader.read()

    async with listening(handler) as port, await MllpClient.connect("127.0.0.1", port) as client:
        await client.send_half(b"abcde")
        assert await received.get() == b"\x0bab"
        await client.send_rest(b"abcde")
        assert await received.get() == b"cde\x1c\r"


async def test_what_is_no_frame_is_said_to_be_none() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"junk\x1c\r")
        await reader.read()

    async with listening(handler) as port, await MllpClient.connect("127.0.0.1", port) as client:
        with pytest.raises(ValueError, match="start block"):
            await client.receive()


async def test_the_end_of_the_connection_is_seen() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x0bhalf")

    async with listening(handler) as port:
        async with await MllpClient.connect("127.0.0.1", port) as client:
            assert await client.closed() == b"\x0bhalf"
        async with await MllpClient.connect("127.0.0.1", port) as client:
            with pytest.raises(EOFError):
                await client.receive()


async def test_an_aborted_connection_ends_at_the_peer() -> None:
    ended = asyncio.Event()
    remotes = asyncio.Queue[str]()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        remotes.put_nowait(f"{host}:{port}")
        await reader.read()
        ended.set()

    async with listening(handler) as port:
        client = await MllpClient.connect("127.0.0.1", port)
        assert await remotes.get() == client.remote
        client.abort()
        await ended.wait()
        await client.close()
