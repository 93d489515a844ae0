"""When the strategy `batched` commits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from medagent.config.model import BatchConfig
from medagent.queue.base import StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.tasks import Tasks
from medagent.testing.queue import message
from medagent.testing.uplink import Watched
from medagent.types import InboundMessage


class Commits(Watched):
    """Takes commits; `gate` holds them back."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.tasks = Tasks()

    async def commit(self, messages: Sequence[InboundMessage]) -> None:
        self.batches.append([one.control_id for one in messages])
        self.change()
        await self.gate.wait()

    def strategy(self, *, size: int = 100, interval_ms: int = 60_000, adaptive: bool = True) -> BatchedStrategy:
        batch = BatchConfig(max_batch_size=size, flush_interval_ms=interval_ms, adaptive=adaptive)
        return BatchedStrategy(StrategyContext(batch, self.commit, self.tasks.spawn))


@pytest.fixture
async def commits() -> AsyncIterator[Commits]:
    commits = Commits()
    yield commits
    await commits.tasks.cancel()


def received(*control_ids: str, ago: float = 0.0) -> list[InboundMessage]:
    made = [message(control_id) for control_id in control_ids]
    for one in made:
        one.received_at = time.monotonic() - ago
    return made


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_idle_it_commits_at_once_what_one_turn_of_the_loop_has_read(commits: Commits) -> None:
    strategy = commits.strategy()
    strategy.put(received("a"))
    strategy.put(received("b", "c"))
    await turns()
    assert commits.batches == [["a", "b", "c"]]
    strategy.put(received("d"))
    await turns()
    assert commits.batches == [["a", "b", "c"], ["d"]]


async def test_while_a_commit_runs_the_next_batch_gathers(commits: Commits) -> None:
    strategy = commits.strategy()
    commits.gate.clear()
    strategy.put(received("a"))
    await turns()
    for name in "bcd":
        strategy.put(received(name))
        await turns()
    assert commits.batches == [["a"]]
    commits.gate.set()
    await turns()
    assert commits.batches == [["a"], ["b", "c", "d"]]


@pytest.mark.parametrize("adaptive", [True, False])
async def test_no_batch_is_larger_than_the_size(commits: Commits, adaptive: bool) -> None:
    strategy = commits.strategy(size=3, adaptive=adaptive)
    strategy.put(received(*"abcdefg"))
    await turns()
    assert commits.batches == [list("abc"), list("def"), *([["g"]] if adaptive else [])]
    await strategy.flush()
    assert commits.batches == [list("abc"), list("def"), ["g"]]


async def test_not_adaptive_it_waits_for_the_size(commits: Commits) -> None:
    strategy = commits.strategy(size=3, adaptive=False)
    for name in "ab":
        strategy.put(received(name))
        await turns()
    assert commits.batches == []
    strategy.put(received("c"))
    await turns()
    assert commits.batches == [list("abc")]


async def test_or_for_the_interval_and_again_for_the_next(commits: Commits) -> None:
    strategy = commits.strategy(interval_ms=2, adaptive=False)
    strategy.put(received("a", "b"))
    await turns(2)
    assert commits.batches == []
    await commits.until(lambda: commits.batches == [["a", "b"]])
    strategy.put(received("c"))
    await commits.until(lambda: commits.batches == [["a", "b"], ["c"]])


async def test_the_interval_counts_from_the_oldest_message(commits: Commits) -> None:
    strategy = commits.strategy(adaptive=False)
    strategy.put(received("old", ago=61.0))
    strategy.put(received("new"))
    await commits.until(lambda: commits.batches == [["old", "new"]])


async def test_what_a_commit_leaves_behind_waits_for_its_own_interval(commits: Commits) -> None:
    strategy = commits.strategy(size=2, adaptive=False)
    commits.gate.clear()
    strategy.put(received("a", "b"))
    await commits.until(lambda: commits.batches)
    strategy.put(received("c"))
    commits.gate.set()
    await turns()
    assert commits.batches == [["a", "b"]]
    strategy.put(received("d"))
    await turns()
    assert commits.batches == [["a", "b"], ["c", "d"]]


async def test_what_has_waited_too_long_behind_a_commit_goes_with_the_next(commits: Commits) -> None:
    strategy = commits.strategy(size=2, adaptive=False)
    commits.gate.clear()
    strategy.put(received("a", "b"))
    await commits.until(lambda: commits.batches)
    strategy.put(received("late", ago=61.0))
    commits.gate.set()
    await commits.until(lambda: commits.batches == [["a", "b"], ["late"]])


async def test_flush_leaves_no_timer_that_commits_too_early(commits: Commits) -> None:
    strategy = commits.strategy(size=2, adaptive=False)
    strategy.put(received("a"))
    await strategy.flush()
    strategy.put(received("b"))
    await turns()
    assert commits.batches == [["a"]]
    strategy.put(received("c"))
    await turns()
    assert commits.batches == [["a"], ["b", "c"]]
