"""The WebSocket `/ws/agent`: reads frames, writes frames, and breaks when a test asks for it."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from medagent.tasks import Tasks
from medagent.testing.fhir_server.agent_protocol import AgentProtocol
from medagent.testing.fhir_server.faults import Faults
from medagent.testing.fhir_server.hub import Connection, Hub
from medagent.testing.fhir_server.journal import TO_AGENT, Journal
from medagent.testing.fhir_server.jsontext import JsonObject, encode

MAX_MESSAGE_BYTES = 1_048_576
"""The largest WebSocket message that is taken, unless told otherwise; a larger one ends the connection with close code 1009."""


class AgentSockets:
    """All open WebSockets."""

    def __init__(
        self,
        *,
        protocol: AgentProtocol,
        hub: Hub,
        journal: Journal,
        faults: Faults,
        tasks: Tasks,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._protocol = protocol
        self._hub = hub
        self._journal = journal
        self._faults = faults
        self._tasks = tasks
        self._max_message_bytes = max_message_bytes
        self._transports: set[asyncio.Transport] = set()
        self._hanging: set[asyncio.Future[None]] = set()

    @property
    def open(self) -> int:
        """Those left hanging in their upgrade too."""
        return len(self._transports)

    def abort(self) -> None:
        """Cut every TCP connection at once, without a close frame."""
        for transport in self._transports:
            transport.abort()
        for future in self._hanging:
            if not future.done():
                future.set_result(None)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Handle one upgrade request and then its WebSocket, to the end."""
        transport = request.transport
        if transport is None:  # the client is gone already
            return web.Response(status=400)
        self._transports.add(transport)
        self._journal.changed()
        try:
            if self._faults.hang_upgrade:
                await self._hang()
                return web.Response(status=503)
            websocket = web.WebSocketResponse(max_msg_size=self._max_message_bytes + 1, compress=False, timeout=1.0)
            try:
                await websocket.prepare(request)
            except ConnectionError:  # the client has gone meanwhile; nobody reads the answer
                return web.Response(status=400)
            self._journal.upgrades += 1
            self._journal.changed()
            await self._converse(websocket)
            return websocket
        finally:
            self._transports.discard(transport)
            self._journal.changed()

    async def _hang(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hanging.add(future)
        try:
            await future
        finally:
            self._hanging.discard(future)

    async def _converse(self, websocket: web.WebSocketResponse) -> None:
        if self._faults.close_on_accept is not None:
            await websocket.close(code=self._faults.close_on_accept)
            return
        outgoing: asyncio.Queue[str] = asyncio.Queue()

        def send(frame: JsonObject) -> None:
            if not self._faults.mute:
                self._journal.exchanged(TO_AGENT, frame)
                outgoing.put_nowait(encode(frame))

        connection = Connection(send)
        writer = self._tasks.spawn(_write(websocket, outgoing), "agent socket writer")
        try:
            async for message in websocket:
                if message.type is WSMsgType.TEXT:
                    self._protocol.receive(connection, message.data)
                elif message.type is WSMsgType.BINARY:
                    self._protocol.receive(connection, message.data.decode())
        finally:
            writer.cancel()
            self._hub.disconnect(connection)


async def _write(websocket: web.WebSocketResponse, outgoing: asyncio.Queue[str]) -> None:
    """Send what is queued; a slow reader must not hold up the reading of its frames."""
    while True:
        text = await outgoing.get()
        try:
            await websocket.send_str(text)
        except ConnectionError:
            return
