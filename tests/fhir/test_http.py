"""Failures of HTTP requests, in medagent's terms."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import itertools
import socket
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from medagent.errors import NotReady
from medagent.fhir.http import MAX_RETRY_AFTER, http_client, json_object, parse_retry_after, request, system_reason

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999999999999", MAX_RETRY_AFTER),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("²", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/", "cannot be reached: Connection refused$"),
        ("http://localhost:1/", "cannot be reached: Connection refused$"),
        ("http://exa mple/", "cannot be reached|is not an address"),
    ],
)
async def test_a_server_that_is_not_there(url: str, reason: str) -> None:
    async with http_client() as http:
        with pytest.raises(NotReady, match=reason):
            await request(http, "GET", url)


def chain(*errors: BaseException) -> BaseException:
    """The first one, caused by the second, and so on."""
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ((OSError("all failed"), ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")), "Connection refused"),
        ((socket.gaierror(socket.EAI_NONAME, "Name or service not known"),), "Name or service not known"),
        (
            (
                OSError("all failed"),
                ExceptionGroup(
                    "", [OSError(errno.ENETUNREACH, ""), OSError(errno.ECONNREFUSED, ""), OSError(errno.ENETUNREACH, "")]
                ),
            ),
            "Network is unreachable, Connection refused",
        ),
        ((TimeoutError(), ValueError()), ""),
    ],
)
def test_the_system_s_reason(errors: tuple[BaseException, ...], reason: str) -> None:
    assert system_reason(chain(*errors)) == reason


async def test_a_server_that_hangs_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server, http_client() as http:
        with pytest.raises(NotReady, match=r"cannot be reached: Server disconnected without sending a response\.$"):
            await request(http, "GET", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_a_redirect_is_not_followed() -> None:
    paths = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        paths.append((await reader.readuntil(b"\r\n\r\n")).split()[1])
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server, http_client() as http:
        port = server.sockets[0].getsockname()[1]
        response = await request(http, "POST", f"http://127.0.0.1:{port}/oauth2/token", data={"client_secret": "secret"})
    assert response.status_code == 307
    assert paths == [b"/oauth2/token"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"x"'])
def test_a_body_that_is_no_object(body: bytes) -> None:
    assert json_object(httpx2.Response(200, content=body)) is None


async def drip(writer: asyncio.StreamWriter) -> None:
    """A body that goes on, a byte at a time, faster than any time-out of a single read."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(writer: asyncio.StreamWriter) -> None:
    """A body without an end, as fast as it is read."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n%s\r\n" % bytes(0x10000))
        await writer.drain()


async def pack(writer: asyncio.StreamWriter) -> None:
    """A short body that unpacks to a long one."""
    body = gzip.compress(bytes(10_000_000))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(drip, "did not answer in time$"), (flood, "more than 100000 bytes"), (pack, "content coding")],
)
async def test_an_answer_without_an_end_is_given_up(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], reason: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            with contextlib.suppress(ConnectionError):
                await answer(writer)
            await reader.read()  # the client has closed
        finally:
            writer.transport.abort()

    async with asyncio.timeout(5), await asyncio.start_server(serve, "127.0.0.1", 0) as server, http_client() as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(NotReady, match=reason):
            await request(http, "GET", url, patience=0.2 if answer is drip else 5.0, max_bytes=100_000)


async def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    async with (
        await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server,
        http_client() as http,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(NotReady, match=r"not be valid HTTP$"):
            await request(http, "GET", url, headers={"Authorization": "Bearer CANARY\nx"})
