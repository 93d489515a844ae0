"""Which connections belong to which agent, and which REST call waits for which answer of an agent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.fhir_server.store import instant


class Connection:
    """One WebSocket as the protocol sees it."""

    def __init__(self, send: Callable[[JsonObject], None]) -> None:
        self.send = send
        """Queue a frame for the agent; returns at once."""
        self.agent_id = ""
        """What its last connect request named, even if that failed."""
        self.subscriptions = 0
        """Successful connects: so often is each request of the server sent to it."""
        self.closed = False


@dataclass(slots=True)
class AgentInfo:
    """What `$status` knows of an agent."""

    status: str = "unknown"
    version: str = "unknown"
    last_updated: str | None = None


class Hub:
    """The meeting point of the WebSockets and the REST operations."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._info: dict[str, AgentInfo] = {}
        self._waiting: dict[str, asyncio.Future[JsonObject]] = {}

    @property
    def connected(self) -> int:
        """Connections whose connect succeeded and that are still open."""
        return len(self._connections)

    def info(self, agent_id: str) -> AgentInfo:
        return self._info.setdefault(agent_id, AgentInfo())

    def connect(self, connection: Connection) -> None:
        """A connect request succeeded; a second one on the same connection doubles what is sent to it."""
        connection.subscriptions += 1
        if connection not in self._connections:
            self._connections.append(connection)
        self._set_status(connection.agent_id, "connected")

    def disconnect(self, connection: Connection) -> None:
        """The WebSocket has closed. Any closed one makes its agent `disconnected`, even while another is open."""
        connection.closed = True
        if connection in self._connections:
            self._connections.remove(connection)
        if connection.agent_id:
            self._set_status(connection.agent_id, "disconnected")

    def heartbeat_answered(self, connection: Connection, version: str) -> None:
        if connection.agent_id:
            self._set_status(connection.agent_id, "connected")
            self.info(connection.agent_id).version = version

    def _set_status(self, agent_id: str, status: str) -> None:
        info = self.info(agent_id)
        info.status = status
        info.last_updated = instant()

    def publish(self, agent_id: str, frame: JsonObject) -> None:
        """Send `frame` to every connection of the agent."""
        for connection in self._connections:
            if connection.agent_id == agent_id:
                for _ in range(connection.subscriptions):
                    connection.send(frame)

    def send_heartbeats(self) -> None:
        """Ask every connected agent for a sign of life."""
        for agent_id in {connection.agent_id for connection in self._connections}:
            self.publish(agent_id, {"type": "agent:heartbeat:request"})

    async def request(self, agent_id: str, frame: JsonObject, timeout: float) -> JsonObject:
        """Send `frame` with a new callback and return the first answer that carries it, whoever sent it.

        Raises `TimeoutError` after `timeout` seconds.
        """
        callback = f"Agent/{agent_id}-{uuid.uuid4()}"
        answer: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._waiting[callback] = answer
        try:
            self.publish(agent_id, frame | {"callback": callback})
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            del self._waiting[callback]

    def answered(self, frame: JsonObject) -> None:
        """An agent's answer; one without callback, or too late, is dropped."""
        callback = frame.get("callback")
        answer = self._waiting.get(callback) if isinstance(callback, str) else None
        if answer is not None and not answer.done():
            answer.set_result(frame)
