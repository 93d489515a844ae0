"""The outbound queue on a real queue file, between a sender and a server that the test holds."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from medagent.config.model import AgentConfig, BacklogConfig, RetryConfig
from medagent.errors import DeviceError, Unsendable
from medagent.outbound import outbound as outbound_module
from medagent.outbound.outbound import SLOW_DISK, Outbound
from medagent.outbound.push import OFF, RESTARTED
from medagent.queue.backlog import Backlog
from medagent.queue.brake import Brake
from medagent.queue.committer import Committer
from medagent.queue.sqlite.store import SqliteStore
from medagent.sender import SenderContext
from medagent.statistics import Statistics
from medagent.tasks import Tasks
from medagent.testing.doubles import Clock, UnreliableStore
from medagent.testing.queue_file import read_messages
from medagent.testing.uplink import Watched
from medagent.types import PUSH_CHANNEL, InboundMessage, State
from medagent.uplink.base import ServerRequest

TEXT = "text/plain"
CANARY = "JANE^CANARY"
DOWN = DeviceError("test://a: nobody is there")
FAST = RetryConfig(base_delay_ms=1)


@pytest.fixture(autouse=True)
def _no_moment_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound_module, "STOP_SECONDS", 0.0)


class Device(Watched):
    """A `Sender` that the test answers for: one at a time each, in any order."""

    content_type = TEXT

    def __init__(self, context: SenderContext) -> None:
        super().__init__()
        self.context = context
        self.sent: list[tuple[str, bytes]] = []
        self.waiting: list[tuple[bytes, asyncio.Future[str]]] = []
        self.automatic: str | Exception | None = None
        """Answers at once, if set."""
        self.closed = False

    def prepare(self, remote: str, text: str) -> bytes:
        if text == "bad":
            raise Unsendable("it is bad")
        if text == "broken":
            raise RuntimeError(CANARY)
        return text.encode()

    async def send(self, remote: str, body: bytes, seconds: float) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sent.append((remote, body))
        self.change()
        if isinstance(self.automatic, Exception):
            raise self.automatic
        if self.automatic is not None:
            return self.automatic
        self.waiting.append((body, answer))
        self.change()
        return await answer

    def reconfigure(self, context: SenderContext) -> None:
        self.context = context

    async def close(self) -> None:
        self.closed = True

    async def answer(self, body: bytes, answer: str | Exception) -> None:
        """Answer the oldest unanswered send of `body`."""
        await self.until(lambda: any(sent == body for sent, _ in self.waiting))
        index = next(index for index, (sent, _) in enumerate(self.waiting) if sent == body)
        _, future = self.waiting.pop(index)
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


class World(Watched):
    """One life of an agent's outbound queue."""

    def __init__(self, folder: Path, config: AgentConfig, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.store = UnreliableStore(SqliteStore(folder / "queue.db", clock=clock))
        self.replies: list[dict[str, Any]] = []  # frames: their fields depend on their type
        self.tasks = Tasks()
        self.statistics = Statistics()
        self.device: Device | None = None
        self.committer = Committer(
            self.store,
            on_receipt=lambda receipt: self.outbound.committed(receipt),
            on_refused=lambda message: self.outbound.refuse_uncommitted(message),
            on_ended=lambda message: self.backlog.left((message,)),
            change_delay=0.005,
            tasks=self.tasks,
        )
        self.backlog = Backlog(config.backlog, Brake({}))
        self.seq = 0
        self.outbound = Outbound(
            config,
            factories={"test": self._make_device},
            store=self.store,
            committer=self.committer,
            backlog=self.backlog,
            statistics=self.statistics,
            next_seq=self._next_seq,
            reply=self._reply,
            clock=clock,
        )

    def _make_device(self, context: SenderContext) -> Device:
        self.device = Device(context)
        return self.device

    @property
    def sender(self) -> Device:
        """Made when something is sent; made here by a look at it."""
        if self.device is None:
            self.push("bad")
            self.replies.pop()
        assert self.device is not None
        return self.device

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def _reply(self, frame: dict[str, Any]) -> None:
        self.replies.append(frame)
        self.change()

    def push(self, body: object, callback: str | None = None, remote: object = "test://a") -> None:
        fields = {"remote": remote, "contentType": TEXT, "body": body}
        self.outbound.push(ServerRequest("agent:transmit:request", callback, fields))

    async def answered(self, count: int) -> list[dict[str, Any]]:
        await self.until(lambda: len(self.replies) >= count)
        return self.replies


@asynccontextmanager
async def life(
    folder: Path, *, clock: Clock | None = None, retry: RetryConfig = FAST, start: bool = True, **config: Any
) -> AsyncIterator[World]:
    """`config`: of `AgentConfig`."""
    world = World(folder, AgentConfig("a-1", "Test", retry=retry, **config), clock or Clock())
    world.seq = await world.store.open()
    if start:
        world.outbound.start(world.seq)
    try:
        async with asyncio.timeout(5):
            yield world
    finally:
        await world.outbound.stop()
        await world.committer.flush_changes()
        await world.tasks.cancel()
        await world.store.close()


def left(folder: Path) -> list[tuple[bytes, State]]:
    return [(each.body, each.state) for each in read_messages(folder / "queue.db")]


async def test_nothing_is_sent_before_it_is_on_disk_and_what_comes_together_shares_a_commit(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        world.sender.automatic = "thanks"
        world.store.gate.clear()
        for number in range(5):
            world.push(f"m{number}", f"c{number}")
        await asyncio.sleep(0)
        assert world.sender.sent == []
        world.store.gate.set()
        await world.answered(5)
        assert [len(control_ids) for control_ids, _ in world.store.commits if control_ids] == [5]
        assert world.replies[0] == {
            "type": "agent:transmit:response",
            "remote": "test://a",
            "callback": "c0",
            "contentType": TEXT,
            "statusCode": 200,
            "body": "thanks",
        }
    assert left(tmp_path) == [(f"m{number}".encode(), State.RESPONSE_SENT) for number in range(5)]


async def test_a_disk_that_takes_nothing_refuses_and_nothing_is_sent(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        world.store.refuse = lambda messages, changes: True
        world.push("m1", "c1")
        [frame] = await world.answered(1)
        assert (frame["callback"], frame["statusCode"], frame["contentType"]) == ("c1", 400, "text/plain")
        assert "cannot store the message, and has not sent it: OSError" in frame["body"]
        assert world.sender.sent == []
        world.store.refuse = lambda messages, changes: False
        world.sender.automatic = "thanks"
        world.push("m1", "c1")
        assert (await world.answered(2))[-1]["statusCode"] == 200


@pytest.mark.parametrize("behavior", ["refuse", "pause"])
async def test_a_full_queue_refuses(tmp_path: Path, behavior: str) -> None:
    async with life(tmp_path, backlog=BacklogConfig(max_messages=1, full_behavior=behavior)) as world:
        world.push("m1")
        world.push("m2", "c2")
        assert world.replies[-1]["body"].startswith("the queue is full")
        assert world.backlog.refused == 1
        await world.sender.answer(b"m1", "thanks")
        await world.answered(2)
        assert world.backlog.messages == 0
        world.push("m3", "c3")
        await world.sender.answer(b"m3", "thanks")
        await world.until(lambda: world.replies[-1].get("callback") == "c3")


async def test_a_disk_that_hangs_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound_module, "MAX_WAITING_BYTES", 50_000)
    async with life(tmp_path) as world:
        world.sender.automatic = "thanks"
        world.store.gate.clear()
        for number in range(100):
            world.push(f"m{number}", f"c{number}")
        refused = [frame["callback"] for frame in world.replies]
        assert 40 < len(refused) < 60
        assert {frame["body"] for frame in world.replies} == {SLOW_DISK}
        world.store.gate.set()
        await world.answered(100)
        world.push("later", "later")  # there is room again
        assert (await world.answered(101))[-1]["statusCode"] == 200
        assert sum(frame["statusCode"] == 200 for frame in world.replies) == 101 - len(refused)


@pytest.mark.parametrize(
    ("body", "remote", "why"),
    [
        (None, "test://a", "no body: it is missing"),
        (17, "test://a", "no body: it is no text"),
        ("", "test://a", "no body: it is empty"),
        ("m", None, "no remote: it is missing"),
        ("m", ["x"], "no remote: it is no text"),
        ("m", "what://x", "it knows test://"),
        ("bad", "test://a", "it is bad"),
        ("broken", "test://a", "plugin failed: RuntimeError"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: object, remote: object, why: str
) -> None:
    async with life(tmp_path) as world:
        for callback in ("c1", None):
            world.push(body, callback, remote)
            assert why in world.replies[-1]["body"]
            assert world.replies[-1].get("callback") == callback
    assert why in caplog.text
    assert CANARY not in caplog.text


async def test_only_the_same_push_to_the_same_device_is_one_that_comes_twice(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        for remote in ("test://a", "test://b", "test://a"):
            world.push("m1", "c1", remote)
        await world.sender.until(lambda: len(world.sender.waiting) == 2)
        assert sorted(world.sender.sent) == [("test://a", b"m1"), ("test://b", b"m1")]
        await world.sender.answer(b"m1", "thanks")
        await world.sender.answer(b"m1", "thanks")
        assert sorted(frame["remote"] for frame in await world.answered(2)) == ["test://a", "test://b"]
    assert left(tmp_path) == [(b"m1", State.RESPONSE_SENT)] * 2


async def test_who_waits_hears_of_a_failure_at_once(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        world.sender.automatic = DOWN
        world.push("m1", "c1")
        [frame] = await world.answered(1)
        assert (frame["statusCode"], frame["body"]) == (400, str(DOWN))
        assert len(world.sender.sent) == 1
    assert left(tmp_path) == [(b"m1", State.REJECTED)]


async def test_a_line_waits_for_its_first_and_other_devices_do_not(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        for body, remote in (("a1", "test://a"), ("a2", "test://a"), ("b1", "test://b")):
            world.push(body, remote=remote)
        await world.sender.until(lambda: len(world.sender.waiting) == 2)
        await world.sender.answer(b"a1", DOWN)
        await world.sender.answer(b"b1", "thanks")
        await world.sender.answer(b"a1", DOWN)
        await world.sender.answer(b"a1", "thanks")
        await world.sender.answer(b"a2", "thanks")
        await world.answered(3)
        assert [body for remote, body in world.sender.sent if remote == "test://a"] == [b"a1"] * 3 + [b"a2"]


@pytest.mark.parametrize(
    ("retry", "failure", "attempts"),
    [
        (RetryConfig(base_delay_ms=1, max_attempts=3), DOWN, 3),
        (RetryConfig(auto=False), DOWN, 1),
        (RetryConfig(auto=False, guaranteed=False), DeviceError("late", may_have_it=True), 1),
    ],
)
async def test_the_settings_end_it_and_the_next_one_goes(
    tmp_path: Path, retry: RetryConfig, failure: Exception, attempts: int
) -> None:
    async with life(tmp_path, retry=retry) as world:
        world.push("m1")
        world.push("m2")
        for _ in range(attempts):
            await world.sender.answer(b"m1", failure)
        await world.sender.answer(b"m2", "thanks")
        assert [frame["statusCode"] for frame in await world.answered(2)] == [400, 200]
    assert left(tmp_path) == [(b"m1", State.DEAD_LETTER), (b"m2", State.RESPONSE_SENT)]


async def test_what_is_in_doubt_is_sent_again_whatever_the_other_settings_say(tmp_path: Path) -> None:
    async with life(tmp_path, retry=RetryConfig(base_delay_ms=1, max_attempts=1)) as world:
        world.push("m1")
        for _ in range(3):
            await world.sender.answer(b"m1", DeviceError("late", may_have_it=True))
        await world.sender.answer(b"m1", "thanks")
        assert [frame["statusCode"] for frame in await world.answered(1)] == [200]


async def test_bodies_that_wait_are_on_disk_only(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        world.sender.automatic = DOWN
        for number in range(2000):
            world.push(f"only here {number}")
        while world.statistics.channel(PUSH_CHANNEL).accepted < 2000:
            await asyncio.sleep(0)
        await world.sender.until(lambda: len(world.sender.sent) > 1)
        bodies = [each.body for each in gc.get_objects() if isinstance(each, InboundMessage) and each.body]
        assert sum(body.startswith(b"only here") for body in bodies) <= 1
    assert len(left(tmp_path)) == 2000


async def test_the_next_run_goes_on_in_order(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        for number in range(700):
            world.push(f"m{number}")
        await world.sender.answer(b"m0", DOWN)
        await world.sender.until(lambda: len(world.sender.sent) == 2)
    async with life(tmp_path, start=False) as world:
        world.sender.automatic = "thanks"
        world.push("new")  # before those of the last run have been read
        while not world.statistics.channel(PUSH_CHANNEL).accepted:
            await asyncio.sleep(0)
        world.outbound.start(world.seq - 1)
        await world.answered(701)
        assert [body for _, body in world.sender.sent] == [f"m{number}".encode() for number in range(700)] + [b"new"]


async def test_after_a_restart_who_still_waits_is_answered_and_who_waits_no_more_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with life(tmp_path, clock=clock) as world:
        world.push("old", "c1")
        await world.sender.until(lambda: world.sender.waiting)
        clock.now += 30
        world.push("young", "c2")
        await world.sender.until(lambda: len(world.sender.waiting) == 2)
    clock.now += 30
    async with life(tmp_path, clock=clock) as world:
        await world.answered(1)
        await world.sender.answer(b"young", "thanks")
        frames = {frame["callback"]: frame for frame in await world.answered(2)}
        assert (frames["c1"]["statusCode"], frames["c1"]["body"]) == (400, RESTARTED)
        assert (frames["c2"]["statusCode"], frames["c2"]["body"]) == (200, "thanks")
        assert [body for _, body in world.sender.sent] == [b"young"]
    assert "1 push(es) that somebody waited for end as dead_letter" in caplog.text
    assert left(tmp_path) == [(b"old", State.DEAD_LETTER), (b"young", State.RESPONSE_SENT)]


async def test_a_queue_that_cannot_be_read_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medagent.outbound.recovery.READ_PAUSE", 0.0)
    monkeypatch.setattr("medagent.outbound.lines.READ_PAUSE", 0.0)
    async with life(tmp_path) as world:
        world.push("m1")
        await world.sender.until(lambda: world.sender.waiting)
    async with life(tmp_path, start=False) as world:
        world.store.fail_reads = True
        world.outbound.start(world.seq)
        asyncio.get_running_loop().call_later(0.02, lambda: setattr(world.store, "fail_reads", False))
        await world.sender.answer(b"m1", "thanks")
        await world.answered(1)


async def test_off_keeps_what_waits_and_refuses_who_waits(tmp_path: Path) -> None:
    off = AgentConfig("a-1", "Test", status="off", retry=FAST)
    async with life(tmp_path, status="off") as world:
        world.sender.automatic = "thanks"
        world.push("m1")
        world.push("m2", "c2")
        assert [frame["body"] for frame in await world.answered(1)] == [OFF]
        world.outbound.reconfigure(AgentConfig("a-1", "Test", keep_alive=True, max_clients_per_remote=3))
        await world.answered(2)
        assert world.sender.context == SenderContext(keep_alive=True, max_clients=3)
        world.outbound.reconfigure(off)
        world.push("m3")
    assert left(tmp_path) == [(b"m1", State.RESPONSE_SENT), (b"m2", State.REJECTED), (b"m3", State.RECEIVED)]


async def test_at_the_end_nothing_more_is_taken(tmp_path: Path) -> None:
    async with life(tmp_path) as world:
        world.push("m1")  # is stored
        await world.outbound.stop()
        world.push("m2", "c2")
        assert world.replies[-1]["body"] == "the agent is stopping; nothing was sent"
        assert world.sender.closed
    [(body, state)] = left(tmp_path)
    assert body == b"m1"
    assert not state.ended


async def test_what_the_disk_takes_too_late_goes_in_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound_module, "COMMIT_SECONDS", 0.0)
    async with life(tmp_path) as world:
        sender = world.sender
        world.store.gate.clear()
        world.push("m1")
        while not world.store.commits:
            await asyncio.sleep(0)
        await world.outbound.stop()
        world.store.gate.set()
        while not world.statistics.channel(PUSH_CHANNEL).accepted:
            await asyncio.sleep(0)
        assert sender.sent == []
    assert left(tmp_path) == [(b"m1", State.RECEIVED)]


async def test_no_content_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with life(tmp_path, retry=RetryConfig(auto=False, guaranteed=False)) as world:
        world.sender.automatic = RuntimeError(CANARY)
        world.push(CANARY)
        world.push(CANARY, "c1")
        await world.answered(2)
        assert "RuntimeError" in world.replies[0]["body"]
    assert CANARY not in caplog.text
    assert {each.channel for each in read_messages(tmp_path / "queue.db")} == {PUSH_CHANNEL}
