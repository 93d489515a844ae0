"""The channel type `line` keeps what every channel promises."""

from __future__ import annotations

import asyncio

import medagent_lines

from medagent.testing.contracts.channel import ChannelContract, Device, Reply, What

WORDS = {"stored": What.ACCEPTED, "done": What.ANSWERED}


class LineDevice:
    """A device that sends lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, name: str) -> None:
        self._writer.write(f"{name} value of {name}\n".encode())
        await self._writer.drain()

    async def receive(self) -> Reply:
        word, name = (await self._reader.readuntil(b"\n")).decode().split()
        return Reply(name, WORDS.get(word, What.REFUSED))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class TestLines(ChannelContract):
    address = "line://127.0.0.1:0?encoding=utf-8"
    plugin = medagent_lines
    message_start = b"17 "

    async def connect(self, host: str, port: int) -> Device:
        return LineDevice(*await asyncio.open_connection(host, port))
