"""An MLLP listener that only answers: what receiving and acknowledging cost without anything between.

    edge.py

Prints its port.
"""

from __future__ import annotations

import asyncio
from typing import cast

import uvloop

START_BLOCK, END_BLOCK = b"\x0b", b"\x1c\r"


class Edge(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        *frames, self._rest = (self._rest + data).split(END_BLOCK)
        if frames:
            self._transport.write(b"".join(map(_acknowledgment, frames)))


def _acknowledgment(frame: bytes) -> bytes:
    fields = frame.split(b"|", 10)
    head = b"MSH|^~\\&|EHR|MAIN|%b|%b|20260105120001||ACK|A%b|P|2.5.1\rMSA|AA|%b\r"
    return START_BLOCK + head % (fields[2], fields[3], fields[9], fields[9]) + END_BLOCK


async def serve() -> None:
    listener = await asyncio.get_running_loop().create_server(Edge, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
