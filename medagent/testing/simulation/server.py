"""A simulated FHIR server behind the real frames of the agent protocol: late, twice, in another order, wrong, or gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.message import make_answer, read_body
from medagent.testing.simulation.network import Pipe
from medagent.testing.simulation.world import World
from medagent.uplink.base import Transmit
from medagent.uplink.connection import Listener

ERRORS = ("Bot failed", "Channel not found", "Not connected", "Invalid access token", "Not found")
"""Texts of `agent:error`."""


class ServerConnection:
    """One connection: what `medagent.uplink.link.Link` uses of a `BatchConnection`, and the server at its other end."""

    def __init__(self, world: World, process: Process, timeout: float) -> None:
        """`timeout`: after so many seconds an answer is late."""
        self._world = world
        self._process = process
        self._timeout = timeout
        self._listener: Listener | None = None
        self._open = True
        self._full = False
        self.protocol = SimpleNamespace(close_rcvd=None, close_rcvd_then_sent=None, close_sent=None)
        self.transport = SimpleNamespace(abort=self.cut)
        self._to_server: Pipe[bytes] = Pipe(world, self._serve, world.outside)
        self._to_agent: Pipe[bytes] = Pipe(world, self._arrived, process.context)
        if world.chance(world.faults.silent_loss):
            world.later(60 * world.random.random(), self._vanish)

    # the agent's end

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def writable(self) -> bool:
        return self._open and not self._full

    @property
    def backlog(self) -> int:
        return 0

    def write(self, payloads: Sequence[bytes]) -> None:
        if not self._open or not self._world.effect(self._process):
            return
        for payload in payloads:
            frame = json.loads(payload)
            if frame["type"] == "agent:transmit:request":
                transmit = Transmit(frame["channel"], frame["remote"], frame["contentType"], frame["body"], frame["callback"])
                self._world.ledger.transmitted(transmit, read_body(transmit.body))
            self._to_server.send(payload)
        if self._world.chance(self._world.faults.full):
            self._full = True
            self._world.later(5 * self._world.random.random(), self._drained, self._process)

    def _drained(self) -> None:
        self._full = False
        if self._open and self._listener is not None:
            self._listener.writable()

    def _arrived(self, payloads: list[bytes]) -> None:
        if self._open and self._listener is not None:
            self._listener.received(list(payloads))

    async def close(self) -> None:
        self.cut()

    async def wait_closed(self) -> None: ...

    def cut(self) -> None:
        """The connection is lost; the agent's end hears of it soon."""
        if self._open:
            self._open = False
            self._to_server.close()
            self._to_agent.close()
            self._world.later(self._world.latency(), self._tell_lost, self._process)

    def _tell_lost(self) -> None:
        if self._listener is not None:
            self._listener.lost()

    def _vanish(self) -> None:
        """Nothing goes through any more, and nobody is told."""
        if self._world.faults.silent_loss:
            self._world.journal.note("server vanishes")
            self._to_server.close()
            self._to_agent.close()

    # the server's end

    # a frame of the agent protocol: its fields depend on its type
    def _say(self, frame: dict[str, Any]) -> None:
        if self._open:
            self._to_agent.send(json.dumps(frame).encode())

    def _serve(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if self._open:
                self._handle(json.loads(payload))

    def _handle(self, frame: dict[str, Any]) -> None:  # as above
        world = self._world
        match frame["type"]:
            case "agent:connect:request":
                if not world.chance(world.faults.refused):
                    self._say({"type": "agent:connect:response"})
                elif world.chance(0.5):
                    self._say({"type": "agent:error", "body": "Invalid access token"})
            case "agent:heartbeat:request":
                self._say({"type": "agent:heartbeat:response", "version": "sim"})
            case "agent:transmit:request":
                self._transmit(frame)

    def _transmit(self, frame: dict[str, Any]) -> None:  # as above
        world, faults = self._world, self._world.faults
        lost = world.chance(faults.connection_lost)
        if lost and world.chance(0.5):
            world.journal.note("server hangs up")
            self.cut()
            return
        if world.chance(faults.server_error):
            text = world.random.choice(ERRORS)
            world.journal.note("server says", text)
            self._say({"type": "agent:error", "body": text})
            return
        self._answer(frame)
        if lost:
            world.journal.note("server hangs up")
            self.cut()

    def _answer(self, frame: dict[str, Any]) -> None:  # as above
        world, faults = self._world, self._world.faults
        sent = read_body(frame["body"])
        chances = ((faults.rejected, 400), (faults.overloaded, 429), (faults.broken, 500))
        status = next((code for chance, code in chances if world.chance(chance)), 200)
        if status == 200:
            world.ledger.served[frame["channel"], sent.control_id, sent.mark] += 1
        world.journal.note("server", status, frame["channel"], sent.control_id, sent.mark)
        answer = {
            "type": "agent:transmit:response",
            "channel": frame["channel"],
            "remote": frame["remote"],
            "contentType": frame["contentType"],
            "statusCode": status,
            "body": make_answer(sent) if status == 200 else "no",
            "callback": frame["callback"],
        }
        if world.chance(faults.answer_lost):
            return
        delay = world.random.choice((0.0, 0.01, 0.5)) * world.random.random()
        if world.chance(faults.answer_late):
            delay += self._timeout * (0.5 + world.random.random())
        for _ in range(2 if world.chance(faults.answer_twice) else 1):
            world.later(delay, lambda: self._say(answer))
            delay += world.random.random()


async def connect(world: World, process: Process, timeout: float) -> ServerConnection:
    """Open a connection. Raises `OSError` while the server is away."""
    await asyncio.sleep(world.latency())
    if world.chance(world.faults.refused):
        await asyncio.sleep(world.random.choice((0.0, 10.0)))
        raise ConnectionRefusedError("the server is away")
    return ServerConnection(world, process, timeout)
