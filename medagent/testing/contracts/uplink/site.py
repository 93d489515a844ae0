"""What `UplinkContract` works with: a server under the test's hand, and an uplink between it and a core that takes notes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from medagent.testing.uplink import Core, Tokens
from medagent.uplink.base import Response, Transmit, Uplink, UplinkContext

AGENT_ID = "a-1"
TEXT = 'M\u00fcller \u20ac \U0001f489 "\\" {}\r\n'
"""What a body may hold."""


class ServerControl(Protocol):
    """A server for tests of an uplink, whatever protocol it speaks. It answers no message by itself."""

    @property
    def received(self) -> Sequence[tuple[str, str]]:
        """Callback and body of each message that has come, in order, over all connections."""

    @property
    def replies(self) -> Sequence[str]:
        """The callback of each frame that `Uplink.reply` has brought, in order."""

    @property
    def accepted(self) -> int:
        """How often it has accepted an agent so far."""

    @property
    def connections(self) -> int:
        """How many connections are open."""

    async def answer(self, callback: str, body: str, status_code: int = 200) -> None:
        """Answer a message, over the newest connection."""

    async def request(self, callback: str) -> None:
        """Ask the agent for something, over the newest connection."""

    def cut(self) -> None:
        """End all connections without a word, as a cut line does."""

    def refuse(self, refusing: bool) -> None:
        """Whether it turns away those who connect."""

    def mute(self, mute: bool) -> None:
        """Whether it says nothing on connections that are made from now on: neither that the agent is accepted nor else."""

    def read(self, reading: bool) -> None:
        """Whether it reads what comes over its connections."""


@runtime_checkable
class ClosesOverSize(Protocol):
    """A `ServerControl` whose protocol ends a connection over a message that is too long, and says that this is why."""

    async def close_over_size(self) -> None:
        """End the newest connection so."""


class TalkativeCore(Core):
    """Keeps what the uplink tells it; `on_connected` is what it does then, within the call."""

    def __init__(self) -> None:
        super().__init__()
        self.on_connected: Callable[[], object] = lambda: None

    def connected(self) -> None:
        super().connected()
        self.on_connected()

    @property
    def responses(self) -> list[Response]:
        """All answers, in order."""
        return [response for batch in self.batches for response in batch]


class UplinkSite:
    """An uplink that runs between a server and a core."""

    def __init__(self, server: ServerControl, make: Callable[[UplinkContext], Uplink]) -> None:
        self.server = server
        self.core = TalkativeCore()
        self.tokens = Tokens()
        self.uplink = make(UplinkContext(AGENT_ID, self.tokens, self.core, self.core.requested))
        self.run: asyncio.Future[None] | None = None

    def start(self) -> None:
        self.run = asyncio.ensure_future(self.uplink.run())

    def times(self, call: str) -> int:
        """How often the core was told so."""
        return self.core.calls.count(call)

    @property
    def state(self) -> str:
        """For the text of a failure."""
        status = self.uplink.status
        return f"status is {status.state!r} ({status.detail}); the core was told {self.core.calls[-6:]}"


def transmits(first: int, last: int, size: int = 100) -> list[Transmit]:
    """Messages with callbacks `Agent/a-1-<number>` and bodies of `size` characters."""
    return [
        Transmit("adt", "10.0.0.7:41022", "x-application/hl7-v2+er7", f"MSH|{number}|{TEXT}".ljust(size, "x"), callback(number))
        for number in range(first, last)
    ]


def callback(number: int) -> str:
    return f"Agent/{AGENT_ID}-{number}"
