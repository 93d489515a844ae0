"""Stand-ins for the parts around the queue, for tests of the core and of plugins: they record, and fail on demand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from medagent.channel import ChannelContext
from medagent.errors import BindFailed
from medagent.queue.base import Change, ChannelDepth, QueueStore, Receipt, Removal, Removed
from medagent.testing.uplink import Watched
from medagent.types import Answer, Delivery, InboundMessage, Refusal
from medagent.uplink.base import Response, Transmit, UplinkHandler, UplinkStatus


class Clock:
    """A `medagent.clock.Clock` that only the test moves."""

    def __init__(self, now: float = 1000.0, epoch: float = 1_767_614_400.0) -> None:
        self.now = now
        self.epoch = epoch
        """The wall clock's time at monotonic 0."""

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.epoch + self.now


class RunningClock(Clock):
    """The system's time, where a stand-in is asked for."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()


class MemoryUplink(Watched):
    """An `Uplink` that keeps what it is given. `handler` is told what the test does with it."""

    def __init__(self, handler: UplinkHandler) -> None:
        super().__init__()
        self.handler = handler
        self.transmitted: list[Transmit] = []
        """Everything it took, repeats included, in order."""
        self.capacity: int | None = None
        """How many more frames it takes before it is full; None for any number."""
        self.poison: set[str] = set()
        """Bodies on which `transmit` raises."""
        self.replies: list[dict[str, Any]] = []  # frames of the agent protocol: their fields depend on their type
        self.reconnects: list[str] = []
        self.connected = False
        self.overhead_bytes = 512

    async def run(self) -> None:
        self.connect()
        await asyncio.Event().wait()

    def transmit(self, messages: Sequence[Transmit]) -> int:
        if any(message.body in self.poison for message in messages):
            raise ValueError("cannot be encoded")
        taken = 0 if not self.connected else len(messages) if self.capacity is None else min(self.capacity, len(messages))
        if self.capacity is not None:
            self.capacity -= taken
        self.transmitted += messages[:taken]
        self.change()
        return taken

    # as in `Uplink.reply`
    def reply(self, frame: dict[str, Any]) -> None:
        self.replies.append(frame)
        self.change()

    def reconnect(self, reason: str) -> None:
        self.reconnects.append(reason)

    @property
    def status(self) -> UplinkStatus:
        return UplinkStatus("connected" if self.connected else "connecting", "")

    def connect(self) -> None:
        """The server accepts the agent."""
        self.connected = True
        self.handler.connected()

    def disconnect(self) -> None:
        """The connection is lost."""
        self.connected = False
        self.handler.disconnected()

    def drain(self, capacity: int | None = None) -> None:
        """Take `capacity` more frames."""
        self.capacity = capacity
        self.handler.writable()

    def answer(self, *messages: Transmit, status_code: int = 200, body: str | None = None) -> None:
        """The server answers these in one read; the body is by default `ACK of <the message's>`."""
        self.handler.answered(
            [
                Response(
                    message.callback, status_code, message.content_type, f"ACK of {message.body}" if body is None else body
                )
                for message in messages
            ]
        )

    @property
    def bodies(self) -> list[str]:
        """What it took, in order."""
        return [message.body for message in self.transmitted]


class RecordingChannel(Watched):
    """A `Channel` without devices: the test hands messages to its context and reads here what came back."""

    content_type = "text/plain"

    def __init__(self, context: ChannelContext | None = None, *, max_workers: int = 0) -> None:
        super().__init__()
        self.context = context
        self.max_workers = max_workers
        self.acknowledged: list[InboundMessage] = []
        """Positively, in order."""
        self.refusals: list[tuple[InboundMessage, Refusal]] = []
        self.answers: list[tuple[InboundMessage, Answer]] = []
        self.delivery = Delivery.SENT
        """What becomes of answers."""
        self.paused: list[bool] = []
        """True for each `pause_reading`, False for each `resume_reading`."""
        self.calls: list[str] = []
        """Names of the life-cycle methods called."""
        self.bind_failures = 0
        """How many more times `start` fails."""
        self.failing: set[str] = set()
        """Names of methods that raise."""
        self.poison: set[bytes] = set()
        """Bodies on which `forward` raises."""

    def _maybe_fail(self, method: str) -> None:
        if method in self.failing:
            raise RuntimeError(method)
        self.change()

    async def start(self) -> None:
        self.calls.append("start")
        self._maybe_fail("start")
        if self.bind_failures:
            self.bind_failures -= 1
            raise BindFailed("the port is taken")

    async def stop_accepting(self) -> None:
        self.calls.append("stop_accepting")
        self._maybe_fail("stop_accepting")

    async def close(self) -> None:
        self.calls.append("close")
        self._maybe_fail("close")

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        self.acknowledged += messages
        self._maybe_fail("committed")

    def refused(self, messages: Sequence[InboundMessage], refusal: Refusal) -> None:
        self.refusals += [(message, refusal) for message in messages]
        self._maybe_fail("refused")

    def answer(self, answers: Sequence[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        self.answers += answers
        self._maybe_fail("answer")
        return [self.delivery] * len(answers)

    def forward(self, message: InboundMessage) -> str:
        self._maybe_fail("forward")
        if message.body in self.poison:
            raise RuntimeError("forward")
        return (message.body or b"").decode("latin-1")

    def key(self, message: InboundMessage) -> str:
        """What stands before the first `/` of the body."""
        self._maybe_fail("key")
        key, slash, _ = (message.body or b"").decode("latin-1").partition("/")
        return key if slash else ""

    def pause_reading(self) -> None:
        self.paused.append(True)
        self._maybe_fail("pause_reading")

    def resume_reading(self) -> None:
        self.paused.append(False)
        self._maybe_fail("resume_reading")

    @property
    def connections(self) -> int:
        self._maybe_fail("connections")
        return 1

    @property
    def address(self) -> str:
        self._maybe_fail("address")
        return "127.0.0.1:0"


class UnreliableStore:
    """A `QueueStore` that refuses some commits and passes everything else on to a real one."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self.damage = ""
        self.refuse: Callable[[Sequence[InboundMessage], Sequence[Change]], bool] = lambda messages, changes: False
        """Whether a commit fails."""
        self.fail_reads = False
        self.gate = asyncio.Event()
        """Cleared, it holds commits back."""
        self.gate.set()
        self.commits: list[tuple[list[str], list[Change]]] = []
        """Control IDs and changes of each commit that was asked for."""

    async def open(self) -> int:
        return await self._store.open()

    async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        self.commits.append(([message.control_id for message in messages], list(changes)))
        await self.gate.wait()
        if self.refuse(messages, changes):
            raise OSError("no space left on device")
        return await self._store.commit(messages, changes)

    async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
        self._maybe_fail()
        return await self._store.fetch(channel, after, limit, max_bytes)

    async def fetch_one(self, seq: int) -> InboundMessage | None:
        self._maybe_fail()
        return await self._store.fetch_one(seq)

    def _maybe_fail(self) -> None:
        if self.fail_reads:
            raise OSError("input/output error")

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        self._maybe_fail()
        return await self._store.retries(channel)

    async def registers(self) -> dict[str, dict[str, int]]:
        return await self._store.registers()

    async def depths(self) -> dict[str, ChannelDepth]:
        self._maybe_fail()
        return await self._store.depths()

    def given_up(self) -> list[InboundMessage]:
        return self._store.given_up()

    async def maintain(self) -> None:
        await self._store.maintain()

    async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
        return await self._store.remove_ended(removal, after, limit)

    async def used_bytes(self) -> int:
        return await self._store.used_bytes()

    async def give_back(self) -> bool:
        return await self._store.give_back()

    def reasons(self) -> list[str]:
        return self._store.reasons()

    async def close(self) -> None:
        await self._store.close()
