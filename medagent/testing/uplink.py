"""For tests of an uplink: a server that behaves as scripted, a core that keeps what it hears, a time that stands still."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed

from medagent.errors import MedagentError
from medagent.fhir.route import DIRECT
from medagent.tasks import Tasks
from medagent.uplink.backoff import Backoff
from medagent.uplink.base import Response, ServerRequest, Transmit, UplinkContext
from medagent.uplink.websocket import WebSocketUplink

Frame = dict[str, Any]  # as decoded JSON: the fields depend on the type


class Watched:
    """Lets a test wait until what it watches has come to be."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def change(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


class Core(Watched):
    """The handler of an uplink: keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.batches: list[list[Response]] = []
        self.requests: list[ServerRequest] = []
        self.fail_on_answer: Exception | None = None

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.change()

    def connected(self) -> None:
        self._note("connected")

    def disconnected(self) -> None:
        self._note("disconnected")

    def writable(self) -> None:
        self._note("writable")

    def answered(self, responses: Sequence[Response]) -> None:
        if self.fail_on_answer is not None:
            raise self.fail_on_answer
        self.batches.append(list(responses))
        self._note("answered")

    def failed(self, text: str) -> None:
        self._note(f"failed: {text}")

    def requested(self, request: ServerRequest) -> None:
        self.requests.append(request)
        self._note("requested")


class Tokens:
    """token-1, and after each refusal the next."""

    def __init__(self) -> None:
        self.number = 1
        self.failures: list[MedagentError] = []
        self.current: str | None = None

    @property
    def renew_in(self) -> float:
        return 0.0 if self.current is None else 60.0

    async def get(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        self.current = f"token-{self.number}"
        return self.current

    def invalidate(self, token: str) -> None:
        if token == f"token-{self.number}":
            self.number += 1


class AgentServer(Watched):
    """Accepts connects, and answers transmits with AA; scripts of single connections come first."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []
        self.connects = 0
        self.scripts: list[Callable[[ServerConnection], Awaitable[None]]] = []
        self.every: Callable[[ServerConnection], Awaitable[None]] = self.well
        self.connection: ServerConnection | None = None
        self.base_url = ""

    async def __call__(self, connection: ServerConnection) -> None:
        self.connects += 1
        self.connection = connection
        self.change()
        script = self.scripts.pop(0) if self.scripts else self.every
        scripted = asyncio.ensure_future(script(connection))
        closed = asyncio.ensure_future(connection.wait_closed())
        await asyncio.wait([scripted, closed], return_when=asyncio.FIRST_COMPLETED)
        scripted.cancel()
        closed.cancel()
        with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
            await scripted

    async def receive(self, connection: ServerConnection) -> Frame:
        frame: Frame = json.loads(await connection.recv())
        self.frames.append(frame)
        self.change()
        return frame

    async def accept(self, connection: ServerConnection) -> None:
        """Take the connect request."""
        await self.receive(connection)
        await connection.send('{"type":"agent:connect:response"}')

    async def well(self, connection: ServerConnection) -> None:
        """Accept, answer every transmit and every heartbeat."""
        await self.accept(connection)
        while True:
            frame = await self.receive(connection)
            if frame["type"] == "agent:transmit:request":
                await connection.send(json.dumps(answer_to(frame)))
            elif frame["type"] == "agent:heartbeat:request":
                await connection.send('{"type":"agent:heartbeat:response","version":"5.0"}')

    async def mute(self, connection: ServerConnection) -> None:
        """Accept, and never say anything again."""
        await self.accept(connection)
        await self.listen_only(connection)

    async def listen_only(self, connection: ServerConnection) -> None:
        """Never say anything."""
        while True:
            await self.receive(connection)

    async def heard(self, kind: str, count: int) -> list[Frame]:
        """Wait for `count` frames of a type; returns all of that type."""
        await self.until(lambda: len(self._of_type(kind)) >= count)
        return self._of_type(kind)

    def _of_type(self, kind: str) -> list[Frame]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def latest(self) -> ServerConnection:
        """The connection opened last."""
        if self.connection is None:
            raise RuntimeError("nobody has connected")
        return self.connection


def answer_to(frame: Frame) -> Frame:
    """What a server with a willing bot answers to a transmit."""
    return {
        "type": "agent:transmit:response",
        "channel": frame["channel"],
        "remote": frame["remote"],
        "contentType": frame["contentType"],
        "statusCode": 200,
        "body": "MSA|AA",
        "callback": frame["callback"],
    }


def messages(count: int, size: int = 100) -> list[Transmit]:
    """With callbacks k0, k1 and so on, and bodies of `size` bytes."""
    return [
        Transmit("adt", "10.0.0.7:41022", "x-application/hl7-v2+er7", f"MSH|{number}|".ljust(size, "x"), f"k{number}")
        for number in range(count)
    ]


class UplinkWorld:
    """An uplink, its core, its server, and the time that only tests and back-off move."""

    def __init__(self) -> None:
        self.now = 1000.0
        """What the uplink takes for the monotonic time, seconds."""
        self.delays: list[float] = []
        """How long the uplink has waited before its tries, seconds."""
        self.server = AgentServer()
        self.core = Core()
        self.tokens = Tokens()
        self.route = DIRECT
        self._tasks = Tasks()
        self._looks = 0
        self._looked = asyncio.Event()

    def _clock(self) -> float:
        self._looks += 1
        self._looked.set()
        return self.now

    async def ticked(self) -> None:
        """Wait until the uplink has looked at the time twice more, or waits to connect again."""
        goal = self._looks + 2
        while self._looks < goal and self.uplink.status.state == "connected":
            self._looked.clear()
            await self._looked.wait()

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.now += seconds
        self.core.change()
        await asyncio.sleep(0)

    def start(self, base_url: str = "", open_timeout: float = 10.0) -> None:
        """Run the uplink, against `server` unless another address is given."""
        self.uplink = WebSocketUplink(
            base_url or self.server.base_url,
            "a-1",
            self.tokens,
            UplinkContext("a-1", self.tokens, self.core, self.core.requested, self.route),
            clock=self._clock,
            sleep=self._sleep,
            backoff=Backoff(uniform=lambda _, bound: bound),
            tick=0.005,
            open_timeout=open_timeout,
        )
        self._tasks.spawn(self.uplink.run(), "uplink")

    async def connected(self) -> WebSocketUplink:
        """Start, and wait until the server has accepted."""
        self.start()
        await self.core.until(lambda: "connected" in self.core.calls)
        return self.uplink

    async def stop(self) -> None:
        """Cancel the uplink and wait for its end."""
        await self._tasks.cancel()


def port_of(server: Server | asyncio.Server) -> int:
    """The port that a server on port 0 has got."""
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port
