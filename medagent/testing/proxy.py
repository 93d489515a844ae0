"""A small HTTP proxy for tests: CONNECT only (RFC 9110, 9.3.6), on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Self

from medagent.tasks import Tasks


class ConnectProxy:
    """Joins clients to what they ask for, wherever that seems to be; an async context manager."""

    def __init__(self, *, login: str = "", target: tuple[str, int] | None = None) -> None:
        """`login`: `user:password` that it wants; `target`: where all connections go, instead of where they want to."""
        self.login = login
        self.target = target
        self.status: int | None = None
        """Set, it answers every request with this HTTP status and joins nobody."""
        self.silent = False
        """It takes requests and never answers."""
        self.requests: list[str] = []
        """Targets of the requests, `host:port`."""
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks = Tasks()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self._tasks.cancel()

    @property
    def url(self) -> str:
        """With the login."""
        return f"http://{self.login}{'@' if self.login else ''}127.0.0.1:{self.port}"

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.spawn(self._serve(reader, writer), "proxied connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            self.requests.append(target)
            if self.silent:
                await reader.read()
                return
            status = self._refusal(method, lines[1:])
            if status is not None:
                writer.write(f"HTTP/1.1 {status} Sorry\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
                return
            host, _, port = target.rpartition(":")
            onward_reader, onward = await asyncio.open_connection(*(self.target or (host.strip("[]"), int(port))))
            with contextlib.closing(onward):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                pumps = [self._tasks.spawn(_pump(*pair), "pump") for pair in ((reader, onward), (onward_reader, writer))]
                await asyncio.wait(pumps)

    def _refusal(self, method: str, headers: list[str]) -> int | None:
        wanted = f"Proxy-Authorization: Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and wanted not in headers:
            return 407
        return self.status if method == "CONNECT" else 405


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
