"""The real uplink, link and session on a simulated connection, and the tokens it needs."""

from __future__ import annotations

from random import Random
from typing import cast

from medagent.errors import NotReady
from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.server import ServerConnection, connect
from medagent.testing.simulation.world import World
from medagent.uplink.backoff import Backoff
from medagent.uplink.base import UplinkContext
from medagent.uplink.connection import BatchConnection
from medagent.uplink.websocket import WebSocketUplink

TOKEN_SECONDS = 45.0
RENEW_BEFORE = 1.5
RETRY_PAUSE = 1.0


class Tokens:
    """A `TokenSource` whose tokens expire, and whose server may be away."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._number = 0
        self._until = 0.0
        self._retry_at = 0.0

    async def get(self) -> str:
        now = self._world.loop.time()
        if now >= self._until - RENEW_BEFORE:
            if self._world.chance(self._world.faults.no_token):
                self._retry_at = now + RETRY_PAUSE
                raise NotReady("the token server is away")
            self._number += 1
            self._until = now + TOKEN_SECONDS
        return f"token-{self._number}"

    @property
    def current(self) -> str | None:
        return f"token-{self._number}" if self._world.loop.time() < self._until else None

    @property
    def renew_in(self) -> float:
        return max(self._until - RENEW_BEFORE, self._retry_at) - self._world.loop.time()

    def invalidate(self, token: str) -> None:
        if token == f"token-{self._number}":
            self._until = 0.0


class SimulatedUplink(WebSocketUplink):
    """`WebSocketUplink`, but for the opening of its connection."""

    def __init__(self, world: World, process: Process, tokens: Tokens, context: UplinkContext) -> None:
        jitter = Random(f"jitter {world.plan.seed} {process.name}")  # noqa: S311  it must be the same each time
        super().__init__(
            "http://sim/",
            context.agent_id,
            tokens,
            context,
            clock=world.clock.monotonic,
            backoff=Backoff(uniform=jitter.uniform),
        )
        self._world = world
        self._process = process
        self.connection: ServerConnection | None = None
        """The newest."""

    async def _open(self) -> BatchConnection:
        timeout = self._world.plan.config.response_timeout_ms / 1000
        self.connection = await connect(self._world, self._process, timeout)
        self._world.journal.note("uplink connects")
        return cast(BatchConnection, self.connection)
