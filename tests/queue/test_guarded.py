"""A third party's strategy under guard: whatever it does, each message is committed once, in order, or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from medagent.guard import Guard
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.queue.guarded import PATIENCE, GuardedStrategy
from medagent.tasks import Tasks
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage, RefusalKind


class Own:
    """A strategy that keeps all it gets until it is told what to do."""

    def __init__(self, context: StrategyContext) -> None:
        self.context = context
        self.taken: list[InboundMessage] = []

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self.taken += messages

    async def flush(self) -> None:
        await self.context.commit(self.taken)
        self.taken = []


class World(QueueWorld):
    """A queue with a guarded strategy."""

    guarded: GuardedStrategy
    own: Own
    guard: Guard

    def __init__(self, folder: Path, kind: Callable[[StrategyContext], Own] = Own) -> None:
        def make(context: StrategyContext) -> QueueStrategy:
            self.own = kind(context)
            return self.own

        def guarded(context: StrategyContext) -> GuardedStrategy:
            self.guard = Guard("lab", "queue strategy own")
            self.guarded = GuardedStrategy(
                make,
                context,
                guard=self.guard,
                tasks=Tasks(),
                refuse=lambda refused: self.intake.refuse_uncommitted(refused),
            )
            return self.guarded

        super().__init__(folder, strategy=guarded)

    @property
    def acknowledged(self) -> list[str]:
        return [one.control_id for one in self.channel.acknowledged]

    @property
    def committed(self) -> list[str]:
        return [control_id for control_ids, _ in self.store.commits for control_id in control_ids]


async def test_a_strategy_that_works_is_left_to_it(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.accept(message("a"), message("b"))
        world.guarded.look(2 * PATIENCE)
        world.guarded.look(2 * PATIENCE)
        assert (world.committed, world.acknowledged) == (["a", "b"], ["a", "b"])
        assert (world.guarded.failed, world.guard.faults) == ("", 0)


class Raising(Own):
    keeps = True

    def put(self, messages: Sequence[InboundMessage]) -> None:
        if self.keeps:
            super().put(messages)
        if len(messages) > 1:
            raise RuntimeError("CANARY")


@pytest.mark.parametrize("keeps", [True, False])
async def test_one_that_raises_is_replaced_and_what_it_held_is_committed_once_and_in_order(
    tmp_path: Path, keeps: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raising, "keeps", keeps)
    async with World(tmp_path, Raising) as world:
        world.intake.accept("adt", [message("a")])
        world.intake.accept("adt", [message("b"), message("c")])
        assert world.guarded.failed == "put: RuntimeError"
        await world.accept(message("d"))
        assert world.acknowledged == ["a", "b", "c", "d"]
        await world.own.flush()  # it wakes up and commits what it had taken
        assert world.committed == ["a", "b", "c", "d"]
    assert "plugin lab: its queue strategy is replaced by batched until the next reload: put: RuntimeError" in caplog.text
    assert "CANARY" not in caplog.text


async def test_what_it_gives_twice_in_one_commit_is_committed_once(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.intake.accept("adt", [message("a"), message("b")])
        await world.own.context.commit([world.own.taken[0], *world.own.taken])
        assert world.acknowledged == world.committed == ["a", "b"]


async def test_one_that_commits_out_of_order_does_not(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.intake.accept("adt", [message("a"), message("b"), message("c"), message("d")])
        a, b, c, d = world.own.taken
        await world.own.context.commit([c, b])
        await world.own.context.commit([a])
        await world.own.context.commit([d])
        assert world.acknowledged == world.committed == ["b", "c", "d"]
        assert [(one.control_id, refusal.kind) for one, refusal in world.channel.refusals] == [("a", RefusalKind.STORAGE)]
        assert world.guard.last_fault == "commit: it commits out of order"


async def test_a_commit_that_it_cancels_before_its_turn_comes_to_its_end(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        async with world.committer.still():
            world.intake.accept("adt", [message("a"), message("b")])
            impatient = asyncio.ensure_future(world.own.context.commit(world.own.taken))
            await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.wait([impatient])
            world.own.taken = []
            flush = asyncio.ensure_future(world.guarded.flush())
            await asyncio.sleep(0)
        await flush
        assert world.acknowledged == ["a", "b"]
        assert world.intake.buffered == 0


async def test_what_comes_while_it_flushes_is_not_held_against_it(tmp_path: Path) -> None:
    class Busy(Own):
        async def flush(self) -> None:
            taken, self.taken = self.taken, []
            await self.context.commit(taken)
            world.intake.accept("adt", [message("b")])

    async with World(tmp_path, Busy) as world:
        await world.accept(message("a"))
        assert not world.guarded.failed
        assert world.acknowledged == ["a"]


async def test_one_that_commits_twice_commits_once(tmp_path: Path) -> None:
    class Twice(Own):
        async def flush(self) -> None:
            await self.context.commit(self.taken)
            await self.context.commit(self.taken)

    async with World(tmp_path, Twice) as world:
        await world.accept(message("a"))
        assert (world.committed, world.guard.faults) == (["a"], 1)


@pytest.mark.parametrize("fault", ["raises", "leaves", "is no coroutine"])
async def test_one_that_does_not_flush_is_replaced(tmp_path: Path, fault: str) -> None:
    class NotFlushing(Own):
        async def flush(self) -> None:
            if fault == "raises":
                raise SystemExit(3)

    if fault == "is no coroutine":
        NotFlushing.flush = lambda self: None  # type: ignore[assignment,method-assign,return-value]  that is the point
    async with World(tmp_path, NotFlushing) as world:
        await world.accept(message("a"))
        assert world.acknowledged == ["a"]
        assert world.guarded.failed.startswith("flush: ")


class Forgetful(Own):
    async def flush(self) -> None:
        await asyncio.Event().wait()


async def test_one_that_commits_nothing_for_long_is_replaced_while_a_flush_waits(tmp_path: Path) -> None:
    async with World(tmp_path, Forgetful) as world:
        accepting = asyncio.ensure_future(world.accept(message("a"), message("b")))
        await asyncio.sleep(0)
        for _ in range(int(PATIENCE)):
            world.guarded.look(1.0)
        assert world.guarded.failed == ""
        world.guarded.look(2.0)
        await accepting
        assert world.acknowledged == ["a", "b"]
        assert "it commits nothing" in world.guarded.failed


async def test_a_flush_that_does_not_end_is_told_from_a_long_one(tmp_path: Path) -> None:
    async with World(tmp_path, Forgetful) as world:
        flushing = asyncio.ensure_future(world.guarded.flush())
        await asyncio.sleep(0)
        for _ in range(int(PATIENCE) + 2):
            world.guarded.look(1.0)
        await flushing
        assert world.guarded.failed


async def test_what_others_have_overtaken_is_refused(tmp_path: Path) -> None:
    async with World(tmp_path, Forgetful) as world:
        world.intake.accept("adt", [message("a"), message("b"), message("c"), message("d")])
        await world.own.context.commit([world.own.taken[1]])
        world.guarded.give_up("a test")
        await world.guarded.flush()
        assert world.acknowledged == ["b", "c", "d"]
        assert [(one.control_id, refusal.kind) for one, refusal in world.channel.refusals] == [("a", RefusalKind.STORAGE)]


async def test_a_slow_disk_is_not_its_fault(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.store.gate.clear()
        accepting = asyncio.ensure_future(world.accept(message("a")))
        while not world.store.commits:
            await asyncio.sleep(0)
        world.intake.accept("adt", [message("b")])
        world.clock.now += 5
        for _ in range(int(PATIENCE) * 3):
            world.guarded.look(1.0)
        assert world.guarded.failed == ""
        world.store.gate.set()
        await accepting


async def test_one_that_goes_on_in_small_steps_is_well(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.intake.accept("adt", [message(str(number)) for number in range(30)])
        for _ in range(30):
            world.guarded.look(1.0)
            await world.own.context.commit([world.own.taken.pop(0)])
        assert world.guarded.failed == ""


async def test_what_it_spawns_and_fails_is_counted(tmp_path: Path) -> None:
    async def fail() -> None:
        raise SystemExit(3)

    async with World(tmp_path) as world:
        world.own.context.spawn(fail(), "work")
        while not world.guard.faults:
            await asyncio.sleep(0)


async def test_one_that_cannot_be_made_is_replaced_from_the_start(tmp_path: Path) -> None:
    def fail(context: StrategyContext) -> Own:
        raise ValueError("CANARY")

    async with World(tmp_path, fail) as world:
        await world.accept(message("a"))
        assert world.acknowledged == ["a"]
        assert world.guarded.failed == "it cannot be made: the making: ValueError"


async def test_what_blocks_the_loop_is_replaced(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        world.intake.accept("adt", [message("a")])
        world.guard.block("put")
        await world.guarded.flush()
        assert world.acknowledged == ["a"]


async def test_the_parts_of_a_batch_stay_together(tmp_path: Path) -> None:
    async with World(tmp_path, Forgetful) as world:
        parts = (message("a"), message("b"))
        world.intake.accept("adt", [InboundMessage(None, "batch", "10.0.0.7:41022", "c1", parts=parts)])
        world.guarded.give_up("a test")
        await world.guarded.flush()
        assert world.acknowledged == ["a", "b"]
