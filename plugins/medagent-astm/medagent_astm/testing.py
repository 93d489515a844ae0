"""A scripted analyser, for tests: the instrument's side of ASTM E1381, over TCP.

Written without the channel's own state machine, so that the two cannot agree on a mistake.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Self

from medagent.tasks import Tasks

ENQ, ACK, NAK, EOT = b"\x05", b"\x06", b"\x15", b"\x04"
TRIES = 6
ROOM = 240
"""Bytes of text in a frame."""


def frame(number: int, text: bytes, *, last: bool = True) -> bytes:
    """A frame with its checksum; `number` counts from 1."""
    body = str(number % 8).encode() + text + (b"\x03" if last else b"\x17")
    return b"\x02" + body + f"{sum(body) & 0xFF:02X}".encode() + b"\r\n"


def frames(text: bytes, *, by_record: bool = True) -> list[bytes]:
    """The frames of a transmission: each record a text of its own, or everything one text."""
    pieces = [record + b"\r" for record in text.split(b"\r") if record] if by_record else [text]
    made: list[bytes] = []
    for piece in pieces:
        for start in range(0, len(piece), ROOM):
            made.append(frame(len(made) + 1, piece[start : start + ROOM], last=start + ROOM >= len(piece)))
    return made


class Analyser:
    """One connection. An async context manager; what the host sends is acknowledged beside, and put into `received`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.received: asyncio.Queue[bytes | None] = asyncio.Queue()
        """Texts of the host's transmissions, whole ones; None when the host has hung up."""
        self.refusals = 0
        """So many frames of the host get NAK."""
        self.busy = 0
        """So many ENQ of the host get NAK."""
        self.crossings = 0
        """So many ENQ of the host get ENQ, as if both had been sent at once."""
        self.contentions = 0
        """How often an ENQ got ENQ."""
        self.heard = bytearray()
        """Every byte of the host that was no part of a frame."""
        self._reader = reader
        self._writer = writer
        self._reply: asyncio.Future[bytes] | None = None
        self._last = b""
        self._free = asyncio.Event()
        """The host does not have the line."""
        self._free.set()
        self._tasks = Tasks()
        self._tasks.spawn(self._listen(), "analyser")

    @classmethod
    async def connect(cls, host: str, port: int) -> Self:
        """Raises `OSError`."""
        return cls(*await asyncio.open_connection(host, port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await self._tasks.cancel()

    async def say(self, data: bytes) -> bytes:
        """Write this, and wait for one byte of the host. Raises `EOFError` if the host hangs up."""
        self._reply = asyncio.get_running_loop().create_future()
        self.write(data)
        return await self._reply

    def write(self, data: bytes) -> None:
        """Write this. Raises `EOFError` if the host has hung up."""
        if self._writer.is_closing() or self._reader.at_eof():
            raise EOFError("the host has hung up")
        self._writer.write(data)

    async def ask(self) -> None:
        """Get the line, however often it takes; in contention at once, as the side that has priority."""
        while True:
            while not self._free.is_set():  # the host may have the line again before this goes on
                await self._free.wait()
            if (reply := await self.say(ENQ)) == ACK:
                return
            self.contentions += reply == ENQ
            await asyncio.sleep(0.01)

    async def send(self, text: bytes, *, by_record: bool = True) -> bool:
        """One transmission; False if a frame was refused six times."""
        return await self.begin(frames(text, by_record=by_record)) and await self.finish()

    async def begin(self, transmission: Sequence[bytes]) -> bool:
        """The transmission up to its last frame, whose reply `finish` waits for; False if a frame was refused six times."""
        await self.ask()
        for each in transmission[:-1]:
            if not await self._deliver(each):
                return False
        self._last = transmission[-1]
        self._reply = asyncio.get_running_loop().create_future()
        self.write(self._last)
        return True

    async def finish(self) -> bool:
        """Wait until the last frame is acknowledged, and end; False if it was refused six times."""
        assert self._reply is not None  # noqa: S101  made by `begin`
        for _ in range(TRIES - 1):
            if await self._reply == ACK:
                self.write(EOT)
                return True
            self._reply = asyncio.get_running_loop().create_future()
            self.write(self._last)
        taken = await self._reply == ACK
        self.write(EOT)
        return taken

    async def _deliver(self, data: bytes) -> bool:
        for _ in range(TRIES):
            if await self.say(data) == ACK:
                return True
        self.write(EOT)
        return False

    async def _listen(self) -> None:
        try:
            while byte := await self._reader.read(1):
                self.heard += byte
                if self._reply is not None and not self._reply.done():
                    self._reply.set_result(byte)
                elif byte == ENQ and self.crossings:
                    self.crossings -= 1
                    self._writer.write(ENQ)
                elif byte == ENQ and self.busy:
                    self.busy -= 1
                    self._writer.write(NAK)
                elif byte == ENQ:
                    self._free.clear()
                    self._writer.write(ACK)
                    await self._take()
                    self._free.set()
        except (OSError, EOFError):
            pass
        finally:
            self._free.set()
            self.received.put_nowait(None)
            if self._reply is not None and not self._reply.done():
                self._reply.set_exception(EOFError("the host has hung up"))
                self._reply.exception()  # nobody need ask for it

    async def _take(self) -> None:
        """The host's transmission, up to EOT."""
        text, number = b"", 1
        while (start := await self._reader.readexactly(1)) != EOT:
            data = start + await self._reader.readuntil(b"\n")
            body, last = data[2:-5], data[-5:-4] == b"\x03"
            if self.refusals:
                self.refusals -= 1
                self._writer.write(NAK)
            elif data == frame(number, body, last=last):
                text, number = text + body, number + 1
                self._writer.write(ACK)
            else:
                self._writer.write(NAK)
        self.heard += EOT
        if text.split(b"\r")[-2:-1] and text.split(b"\r")[-2][:1] == b"L":
            self.received.put_nowait(text)
