"""What every channel promises, checked on `ward-monitor`."""

from __future__ import annotations

import asyncio

from medagent.testing.contracts.channel import ChannelContract, Device, Reply, What
from medagent_ward_monitor.frames import checksum


class WardMonitorDevice:
    """A device for the tests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, name: str) -> None:
        content = f"{name},temperature,37.2".encode()
        self._writer.write(b"$" + content + b"*" + checksum(content) + b"\r\n")
        await self._writer.drain()

    async def receive(self) -> Reply:
        line = (await self._reader.readuntil(b"\r\n")).decode().rstrip()
        return Reply(line[1:], What.ACCEPTED if line[0] == "+" else What.REFUSED)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class TestWardMonitorChannel(ChannelContract):
    address = "ward-monitor://127.0.0.1:0"
    answers = False
    message_start = b"$17,"

    async def connect(self, host: str, port: int) -> Device:
        return WardMonitorDevice(*await asyncio.open_connection(host, port))
