"""An agent made by hand: speaks frames to a FHIR server, one at a time, as a test tells it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import httpx2
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from medagent.testing.fhir_server.jsontext import JsonObject, encode


async def fetch_token(base_url: str, client_id: str = "client1", client_secret: str = "secret") -> str:  # noqa: S107  a test's
    """An access token. Raises `httpx2.HTTPStatusError` if the server refuses."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    async with httpx2.AsyncClient(base_url=base_url) as http:
        answer = await http.post("oauth2/token", data=form)
    answer.raise_for_status()
    token: str = answer.json()["access_token"]
    return token


class AgentClient:
    """One WebSocket to `/ws/agent`."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket

    @classmethod
    async def open(cls, base_url: str, path: str = "ws/agent") -> Self:
        """Open the WebSocket, without a connect request. Raises `OSError` or `websockets.exceptions.InvalidStatus`."""
        return cls(await connect(base_url.replace("http", "ws", 1) + path, compression=None, max_size=None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def close_code(self) -> int | None:
        """Of the closed WebSocket."""
        return self._websocket.close_code

    async def connect(self, token: str, agent_id: str) -> None:
        """Send a connect request and take the response. Raises `ValueError` if the server answers anything else."""
        await self.send({"type": "agent:connect:request", "accessToken": token, "agentId": agent_id})
        answer = await self.receive()
        if answer != {"type": "agent:connect:response"}:
            raise ValueError(f"not connected: {answer}")

    async def send(self, frame: JsonObject) -> None:
        await self.send_text(encode(frame))

    async def send_text(self, text: str | bytes) -> None:
        """Send any text, or bytes as a binary message."""
        await self._websocket.send(text)

    async def receive(self, timeout: float = 10.0) -> JsonObject:
        """The next frame. Raises `TimeoutError`, or `websockets.exceptions.ConnectionClosed`."""
        async with asyncio.timeout(timeout):
            return msgspec.json.decode(await self._websocket.recv(), type=JsonObject)

    async def settle(self) -> list[JsonObject]:
        """What has come before the answer to a heartbeat sent now: everything that was due."""
        await self.send({"type": "agent:heartbeat:request"})
        frames: list[JsonObject] = []
        while (frame := await self.receive())["type"] != "agent:heartbeat:response":
            frames.append(frame)
        return frames

    async def wait_closed(self, timeout: float = 10.0) -> None:
        """Wait until the server has closed or cut the connection. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout):
            await self._websocket.wait_closed()

    async def close(self) -> None:
        await self._websocket.close()
