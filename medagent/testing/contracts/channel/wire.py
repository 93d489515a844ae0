"""What lies between a device and a channel: a proxy that passes bytes in pieces, counts them, and cuts the connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from medagent.tasks import Tasks
from medagent.testing.mllp import reset


class Wire:
    """An async context manager that listens on a free loopback port while it is used."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        piece: int = 65_536,
        cut_after: int | None = None,
        by_reset: bool = False,
        source: str | None = None,
    ) -> None:
        """`host` and `port` are the channel's. `piece`: bytes of a device that pass at a time; `cut_after`: bytes of a device
        after which its connection ends, by an RST or by a FIN; `source`: the IP address that the channel sees."""
        self._target = (host, port)
        self._piece = piece
        self._left = cut_after
        self._by_reset = by_reset
        self._source = None if source is None else (source, 0)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks = Tasks()
        self.address = ("", 0)
        self.passed = 0
        """Bytes that came from devices."""
        self.was_cut = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()[:2]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await self._tasks.cancel()

    def cut(self) -> None:
        """End all connections."""
        for writer in self._writers:
            if self._by_reset:
                reset(writer)
            else:
                writer.close()
        self.was_cut.set()

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.spawn(self._connect(reader, writer), "wire")

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel_reader, channel_writer = await asyncio.open_connection(*self._target, local_addr=self._source)
        self._writers += [writer, channel_writer]
        self._tasks.spawn(self._back(channel_reader, writer), "wire to the device")
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for start in range(0, len(data), self._piece):
                    piece = data[start : start + self._piece][: self._left]
                    channel_writer.write(piece)
                    await channel_writer.drain()
                    self.passed += len(piece)
                    if self._left is not None:
                        self._left -= len(piece)
                        if not self._left:
                            self.cut()
                            return
                    if self._piece < 65_536:
                        # the channel reads this piece by itself
                        for _ in range(3):
                            await asyncio.sleep(0)
            channel_writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()
