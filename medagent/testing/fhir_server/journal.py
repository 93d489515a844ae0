"""What happened at the server, for tests and the demo to look at and to wait for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from medagent.testing.fhir_server.jsontext import JsonObject

TO_SERVER = "agent->server"
TO_AGENT = "server->agent"


class Exchange(NamedTuple):
    """One frame."""

    direction: str
    """`TO_SERVER` or `TO_AGENT`."""
    frame: JsonObject
    """Decoded; `{"text": …}` if it was no JSON object."""


class Journal:
    """Frames in the order they came and went, counters, and a way to wait until something has happened."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self.frames: list[Exchange] = []
        self.transmits: list[JsonObject] = []
        """Transmit requests in the order of arrival, refused ones too."""
        self.executed: list[JsonObject] = []
        """Transmit requests that passed the checks and were given to the bot."""
        self.transmit_count = 0
        self.executed_count = 0
        self.response_count = 0
        """Transmit responses sent."""
        self.token_requests_at: list[float] = []
        """When each token request came, monotonic seconds."""
        self.most_token_requests = 0
        """The most that were open at once."""
        self.refused_tokens = 0
        """Frames and requests whose token was unknown, expired or forgotten."""
        self.upgrades = 0
        """WebSockets opened."""
        self.connects = 0
        """Connect requests that succeeded."""

    @property
    def token_requests(self) -> int:
        return len(self.token_requests_at)

    def token_requested(self, open_now: int) -> None:
        """A token request has come; `open_now` are waiting for an answer, this one included."""
        self.token_requests_at.append(time.monotonic())
        self.most_token_requests = max(self.most_token_requests, open_now)
        self.changed()

    def exchanged(self, direction: str, frame: JsonObject) -> None:
        if self._keep:
            self.frames.append(Exchange(direction, frame))
        self.changed()

    def transmitted(self, frame: JsonObject) -> None:
        self.transmit_count += 1
        if self._keep:
            self.transmits.append(frame)
        self.changed()

    def execute(self, frame: JsonObject) -> None:
        self.executed_count += 1
        if self._keep:
            self.executed.append(frame)
        self.changed()

    def changed(self) -> None:
        """Look whether somebody has waited for this."""
        for future, reached in list(self._waiting.items()):
            if not future.done() and reached():
                future.set_result(None)

    async def wait_until(self, reached: Callable[[], bool], timeout: float) -> None:
        """Return as soon as `reached()`; it is asked after every change. Raises `TimeoutError`."""
        if reached():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[future] = reached
        try:
            async with asyncio.timeout(timeout):
                await future
        finally:
            del self._waiting[future]
