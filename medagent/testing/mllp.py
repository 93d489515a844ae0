"""A small MLLP client for tests, written without the HL7 plugin so that the two cannot agree on a mistake.

MLLP: HL7 v2 Transport Specification, Minimal Lower Layer Protocol, Release 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from types import TracebackType
from typing import Self

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c\r"
"""The end block and the carriage return after it."""


def framed(body: bytes) -> bytes:
    """`body` as one frame."""
    return START_BLOCK + body + END_BLOCK


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut a connection so that the peer sees a reset, and not an end; what waits to be written is dropped."""
    if not writer.is_closing():
        linger = struct.pack("ii", 1, 0)  # socket(7): on, for no time
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


class MllpClient:
    """One connection to an MLLP listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        max_frame_bytes: int = 16 * 1024 * 1024,
        tls: ssl.SSLContext | None = None,
        local_port: int | None = None,
    ) -> Self:
        """Open a connection, over TLS with a context, from a loopback port if one is given.

        Raises `OSError`, of which `ssl.SSLError` is one.
        """
        local = ("127.0.0.1", local_port) if local_port is not None else None
        return cls(*await asyncio.open_connection(host, port, limit=max_frame_bytes, ssl=tls, local_addr=local))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def remote(self) -> str:
        """How the listener sees this connection: `ip:port`."""
        host, port = self._writer.get_extra_info("sockname")[:2]
        return f"{host}:{port}"

    async def send(self, *bodies: bytes) -> None:
        """Send each body as a frame, all in one write. Raises `ConnectionError`."""
        await self.send_raw(b"".join(framed(body) for body in bodies))

    async def send_half(self, body: bytes) -> None:
        """Send the first half of a frame: the start block and half of `body`."""
        await self.send_raw(START_BLOCK + body[: len(body) // 2])

    async def send_rest(self, body: bytes) -> None:
        """Send what `send_half` left out."""
        await self.send_raw(body[len(body) // 2 :] + END_BLOCK)

    async def send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, timeout: float = 10.0) -> bytes:
        """The body of the next frame.

        Raises `TimeoutError` after `timeout` seconds, `EOFError` or `ConnectionError` when the peer has gone, `ValueError`
        if what comes is no frame.
        """
        async with asyncio.timeout(timeout):
            frame = await self._reader.readuntil(END_BLOCK)
        if not frame.startswith(START_BLOCK):
            raise ValueError("a frame must begin with the start block")
        return frame.removeprefix(START_BLOCK).removesuffix(END_BLOCK)

    async def closed(self, timeout: float = 10.0) -> bytes:
        """Wait until the peer has closed, and return what it still sent. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # the peer was faster
            await self._writer.wait_closed()

    def reset(self) -> None:
        """Cut the connection so that the peer sees a reset, and not an end that may be half a one."""
        reset(self._writer)

    def abort(self) -> None:
        """Cut the connection at once; the peer sees a reset or an end without more."""
        self._writer.transport.abort()
