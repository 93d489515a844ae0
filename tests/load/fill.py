"""Devices that send as fast as the agent takes it, with many messages of each connection under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from medagent.testing.mllp import END_BLOCK, framed

HEAD = "MSH|^~\\&|LOAD|TEST|EHR|MAIN|20260105120000||ADT^A01^ADT_A01|{id}|P|2.5.1\rPID|1||4711\r"
WINDOW = 400
"""Messages of a connection that are not acknowledged yet, at most."""
CHUNK = 100
"""Messages a write."""


def control_id(connection: int, number: int) -> str:
    """The connection and the message's place on it, for the other end to check."""
    return f"{connection}-{number}"


class Device(asyncio.Protocol):
    """One connection with messages under way."""

    def __init__(self, connection: int, count: int, size: int, acknowledged: Callable[[int], None]) -> None:
        self._connection = connection
        self._count = count
        self._padding = "x" * size
        self._size = size
        self._note = acknowledged
        self._sent = self._acknowledged = 0
        self._rest = b""
        self.fault = ""
        """Why it has given up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        *answers, self._rest = (self._rest + data).split(END_BLOCK)
        if not all(b"\rMSA|CA|" in answer for answer in answers):
            self._fail(f"not accepted: {next(answer for answer in answers if b'MSA|CA|' not in answer)!r}")
            return
        self._acknowledged += len(answers)
        self._send()
        self._note(len(answers))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the agent has closed the connection")

    def _fail(self, text: str) -> None:
        if self._acknowledged < self._count:
            self.fault = self.fault or text
            self._note(0)

    def _send(self) -> None:
        while self._sent < self._count and self._sent - self._acknowledged <= WINDOW - CHUNK:
            end = min(self._sent + CHUNK, self._count)
            self._transport.write(b"".join(self._frame(number) for number in range(self._sent, end)))
            self._sent = end

    def _frame(self, number: int) -> bytes:
        text = HEAD.format(id=control_id(self._connection, number)) + "NTE|1||"
        return framed((text + self._padding[: max(1, self._size - len(text) - 1)] + "\r").encode())

    def close(self) -> None:
        self._transport.close()


class Fill:
    """All devices, a connection to each address, and what was acknowledged."""

    def __init__(self, addresses: Sequence[tuple[str, int]], count: int, size: int, first: int = 0) -> None:
        """`first` is the number of the first connection."""
        self.shares = [count // len(addresses) + (number < count % len(addresses)) for number in range(len(addresses))]
        """Messages of each connection."""
        self.times: list[float] = []
        """When each message was acknowledged, monotonic seconds, in order."""
        self._addresses = addresses
        self._count = count
        self._size = size
        self._first = first
        self._devices: list[Device] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number, (address, share) in enumerate(zip(self._addresses, self.shares, strict=True), self._first):
            device = Device(number, share, self._size, self._acknowledged)
            self._devices.append(device)
            await loop.create_connection(partial(_same, device), *address)
        return self

    async def __aexit__(self, *_: object) -> None:
        for device in self._devices:
            device.close()

    def _acknowledged(self, count: int) -> None:
        self.times += [time.monotonic()] * count
        self._news.set()

    async def done(self) -> None:
        """Return once all messages are acknowledged. Raises `RuntimeError` if that cannot be any more."""
        while len(self.times) < self._count:
            await self._news.wait()
            self._news.clear()
            for device in self._devices:
                if device.fault:
                    raise RuntimeError(device.fault)


def _same(device: Device) -> Device:
    return device


def rate_of(times: Sequence[float]) -> float:
    """Acknowledgments a second."""
    spread = times[-1] - times[0]
    return (len(times) - 1) / spread if spread else 0.0
