"""A `ServerControl` of the agent protocol of a Medplum server: for uplinks that speak it, and as an example."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from medagent.testing.uplink import AgentServer, answer_to, port_of

TRANSMIT = "agent:transmit:request"
NO_REPLIES = ("agent:connect:request", "agent:heartbeat:request", "agent:heartbeat:response", TRANSMIT)


class MedplumControl:
    """Implements `medagent.testing.contracts.uplink.site.ServerControl` and `ClosesOverSize`."""

    def __init__(self) -> None:
        self._server = AgentServer()
        self._server.every = self._serve
        self._open: list[ServerConnection] = []
        self._refusing = False
        self._mute = False
        self._reading = asyncio.Event()
        self._reading.set()
        self.accepted = 0
        self.base_url = ""

    @property
    def received(self) -> list[tuple[str, str]]:
        return [(frame["callback"], frame["body"]) for frame in self._server.frames if frame["type"] == TRANSMIT]

    @property
    def replies(self) -> list[str]:
        return [frame["callback"] for frame in self._server.frames if frame["type"] not in NO_REPLIES]

    @property
    def connections(self) -> int:
        return len(self._open)

    async def answer(self, callback: str, body: str, status_code: int = 200) -> None:
        [*_, frame] = [frame for frame in self._server.frames if frame["type"] == TRANSMIT and frame["callback"] == callback]
        await self._open[-1].send(json.dumps(answer_to(frame) | {"body": body, "statusCode": status_code}))

    async def request(self, callback: str) -> None:
        await self._open[-1].send(json.dumps({"type": "agent:reloadconfig:request", "callback": callback}))

    def cut(self) -> None:
        for connection in self._open:
            connection.transport.abort()

    def refuse(self, refusing: bool) -> None:
        self._refusing = refusing

    def mute(self, mute: bool) -> None:
        self._mute = mute

    def read(self, reading: bool) -> None:
        (self._reading.set if reading else self._reading.clear)()

    async def close_over_size(self) -> None:
        await self._open[-1].close(CloseCode.MESSAGE_TOO_BIG)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not now") if self._refusing else None

    async def _connection(self, connection: ServerConnection) -> None:
        self._open.append(connection)
        try:
            await self._server(connection)
        finally:
            self._open.remove(connection)

    async def _serve(self, connection: ServerConnection) -> None:
        if self._mute:
            await self._server.listen_only(connection)
        await self._server.accept(connection)
        self.accepted += 1
        while True:
            await self._reading.wait()
            frame = await self._server.receive(connection)
            if frame["type"] == "agent:heartbeat:request":
                await connection.send('{"type":"agent:heartbeat:response","version":"5.0"}')


@contextlib.asynccontextmanager
async def medplum_server() -> AsyncIterator[MedplumControl]:
    """One that listens on loopback, at its `base_url`."""
    control = MedplumControl()
    async with serve(control._connection, "127.0.0.1", 0, process_request=control._admit, max_size=None) as server:
        control.base_url = f"http://127.0.0.1:{port_of(server)}/"
        yield control
        control.cut()
        with contextlib.suppress(ConnectionClosed):
            server.close(close_connections=True)
