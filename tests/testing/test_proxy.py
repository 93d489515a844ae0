"""The proxy for tests joins, refuses and notes."""

from __future__ import annotations

import asyncio

import pytest

from medagent.testing.proxy import ConnectProxy


async def ask(proxy: ConnectProxy, request: str, then: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"{request}\r\n\r\n".encode() + then)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_bytes_go_both_ways() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server, ConnectProxy() as proxy:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(f"CONNECT {target} HTTP/1.1\r\n\r\nhello".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.write_eof()
        assert await reader.read() == b"HELLO"
        writer.close()
        assert proxy.requests == [target]


@pytest.mark.parametrize(
    ("request_lines", "status"),
    [
        ("CONNECT x:1 HTTP/1.1", 407),
        ("CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic dTpx", 407),
        ("CONNECT x:1 HTTP/1.1\r\nProxy-Authorization: Basic dTpw", 502),
        ("GET http://x/ HTTP/1.1\r\nProxy-Authorization: Basic dTpw", 405),
    ],
)
async def test_refusals(request_lines: str, status: int) -> None:
    async with ConnectProxy(login="u:p") as proxy:
        proxy.status = 502
        assert (await ask(proxy, request_lines)).startswith(f"HTTP/1.1 {status} ".encode())
