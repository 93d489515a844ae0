"""What every queue strategy must keep, checked on those of medagent; and what one that does not keep it can do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from medagent.config.model import BatchConfig
from medagent.queue.base import StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.immediate import ImmediateStrategy
from medagent.queue.plugin import medagent_make_queue_strategy
from medagent.testing.queue import MakeStrategy, QueueWorld, message
from medagent.types import InboundMessage, State


def timer(context: StrategyContext) -> BatchedStrategy:
    """The strategy `batched` with an interval that no test lives to see."""
    batch = BatchConfig(max_batch_size=10, flush_interval_ms=60_000, adaptive=False)
    return BatchedStrategy(StrategyContext(batch, context.commit, context.spawn))


every = pytest.mark.parametrize("strategy", [BatchedStrategy, timer, ImmediateStrategy])


def names(messages: Sequence[InboundMessage]) -> list[str]:
    return [one.control_id for one in messages]


@every
async def test_nothing_is_acknowledged_while_the_commit_runs(tmp_path: Path, strategy: MakeStrategy) -> None:
    async with QueueWorld(tmp_path, strategy=strategy) as world:
        world.store.gate.clear()
        world.intake.accept("adt", [message("a"), message("b")])
        flush = asyncio.ensure_future(world.strategy.flush())
        while not world.store.commits:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.channel.acknowledged == []
        assert not flush.done()
        world.store.gate.set()
        await flush
        assert names(world.channel.acknowledged) == ["a", "b"]


@every
async def test_flush_waits_for_what_comes_meanwhile(tmp_path: Path, strategy: MakeStrategy) -> None:
    async with QueueWorld(tmp_path, strategy=strategy) as world:
        world.store.gate.clear()
        world.intake.accept("adt", [message("a")])
        flush = asyncio.ensure_future(world.strategy.flush())
        while not world.store.commits:
            await asyncio.sleep(0)
        world.intake.accept("adt", [message("b")])
        world.store.gate.set()
        await flush
        assert names(world.channel.acknowledged) == ["a", "b"]


@every
async def test_it_works_again_after_every_commit_has_failed(tmp_path: Path, strategy: MakeStrategy) -> None:
    async with QueueWorld(tmp_path, strategy=strategy) as world:
        world.store.refuse = lambda messages, changes: True
        await world.accept(*(message(f"m{number}") for number in range(12)))
        assert len(world.channel.refusals) == 12
        assert world.channel.acknowledged == []
        world.store.refuse = lambda messages, changes: False
        await world.accept(message("a"))
        assert names(world.channel.acknowledged) == ["a"]
        assert world.intake.buffered == world.intake.buffered_bytes == 0


def test_the_plugin_knows_both_by_name() -> None:
    async def commit(messages: Sequence[InboundMessage]) -> None: ...

    context = StrategyContext(BatchConfig(), commit, lambda coroutine, name: None)
    made = [medagent_make_queue_strategy(name, context) for name in ("batched", "immediate", "other")]
    assert [type(strategy) for strategy in made] == [BatchedStrategy, ImmediateStrategy, type(None)]


class Drops:
    """Takes everything, commits nothing, says that all is done."""

    def __init__(self, context: StrategyContext) -> None:
        self.context = context

    def put(self, messages: Sequence[InboundMessage]) -> None: ...

    async def flush(self) -> None: ...


class ReturnsEarly(Drops):
    """Starts a commit and does not wait for it."""

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self.context.spawn(self.context.commit(list(messages)), "commit nobody waits for")  # type: ignore[arg-type]


class GivesUp(Drops):
    """Commits, and cancels it at once."""

    def put(self, messages: Sequence[InboundMessage]) -> None:
        task = self.context.spawn(self.context.commit(list(messages)), "commit to be cancelled")  # type: ignore[arg-type]
        asyncio.get_running_loop().call_soon(task.cancel)  # type: ignore[attr-defined]  # `spawn` of the core gives a task


class Keeps(Drops):
    """Commits only every other message."""

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self.context.spawn(self.context.commit(list(messages)[::2]), "half")  # type: ignore[arg-type]


class Raises(Drops):
    def put(self, messages: Sequence[InboundMessage]) -> None:
        raise RuntimeError("out of order")


class Turns(Drops):
    """Commits in the wrong order, and twice."""

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self.context.spawn(self.context.commit(list(messages)[::-1]), "once")  # type: ignore[arg-type]
        self.context.spawn(self.context.commit(list(messages)[::-1]), "twice")  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", [Drops, ReturnsEarly, GivesUp, Keeps, Raises, Turns])
async def test_whatever_a_strategy_does_only_what_is_on_disk_is_acknowledged(tmp_path: Path, strategy: MakeStrategy) -> None:
    async with QueueWorld(tmp_path, strategy=strategy) as world:
        world.store.gate.clear()
        await world.accept(message("a"), message("b"), message("c"), message("b"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert world.channel.acknowledged == [], "no commit has ended yet"
        world.store.gate.set()
        await world.quiet()
        on_disk = await world.store.fetch("adt", 0, 10, 100_000)
        assert {one.control_id for one in world.channel.acknowledged} <= {one.control_id for one in on_disk}
        assert len(on_disk) == len({one.control_id for one in on_disk})
        assert (await world.states()).get(State.RECEIVED, 0) == len(on_disk), "each has its body and is counted once"
        assert world.intake.buffered >= 0
        if strategy is Raises:
            assert [one.control_id for one, _ in world.channel.refusals] == ["a", "b", "c", "b"]
