"""What every channel promises, checked on the byte stream channel; kills of a whole agent included."""

from __future__ import annotations

import asyncio
from collections import deque

from medagent.testing.contracts.channel import ChannelContract, Device, Reply, What


class ByteStreamDevice:
    """Knows which message is acknowledged next, since acknowledgments do not say it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._unacknowledged: deque[str] = deque()

    async def send(self, name: str) -> None:
        self._unacknowledged.append(name)
        self._writer.write(b"\x02" + name.encode() + b"\x03")
        await self._writer.drain()

    async def receive(self) -> Reply:
        first = await self._reader.readexactly(1)
        if first == b"\x02":
            answer = await self._reader.readuntil(b"\x03")
            return Reply(answer[:-1].decode(), What.ANSWERED)
        return Reply(self._unacknowledged.popleft(), What.ACCEPTED if first == b"\x06" else What.REFUSED)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class _Contract(ChannelContract):
    message_start = b"\x02"
    kills = 1

    async def connect(self, host: str, port: int) -> Device:
        return ByteStreamDevice(*await asyncio.open_connection(host, port))

    def name_in(self, text: str) -> str:
        return super().name_in(bytes.fromhex(text).decode("latin-1"))


class TestWithAcknowledgments(_Contract):
    address = "tcp://127.0.0.1:0?startChar=%02&endChar=%03&ackBytes=06&nakBytes=15"


class TestWithoutAcknowledgments(_Contract):
    address = "tcp://127.0.0.1:0?startChar=%02&endChar=%03"
    acknowledges = False
