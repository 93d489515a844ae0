"""How a suite's test tells what was promised, and that nothing makes it hang."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from medagent.queue.base import StrategyContext
from medagent.queue.immediate import ImmediateStrategy
from medagent.testing.contracts.killed import killed_child
from medagent.testing.contracts.promise import Broken, Contract, expect, promise
from medagent.testing.contracts.strategy import QueueStrategyContract
from medagent.types import InboundMessage


class Cases(Contract):
    patience: ClassVar[float] = 0.1

    @promise("a page")
    async def kept(self) -> None:
        """It is kept."""
        await asyncio.sleep(0)
        expect([1], "this is not told")

    @promise("a page")
    async def broken(self) -> None:
        """Two lines
        are one."""
        expect([], "there was none")

    @promise("a page")
    def broken_without_a_loop(self) -> None:
        """It needs no event loop."""
        expect(None, "there was none")

    @promise("a page")
    async def never(self) -> None:
        """Something comes."""
        await self.until(lambda: False, lambda: "nothing has come")

    @promise("a page")
    async def hangs(self) -> None:
        """Something returns."""
        await self.within(asyncio.Event().wait(), "it has not returned")

    @promise("a page")
    async def blocks(self) -> None:
        """The event loop turns."""
        time.sleep(60)  # noqa: ASYNC251  as a plugin may do it

    @promise("a page")
    async def blocks_in_code_that_hides_it(self) -> None:
        """The event loop turns."""
        try:
            time.sleep(60)  # noqa: ASYNC251  as above
        except Exception:  # noqa: BLE001  as above
            return

    @promise("a page")
    async def raises(self) -> None:
        """Nothing is raised."""
        raise ValueError("out of order")


async def happened(case: str) -> str:
    with pytest.raises(pytest.fail.Exception) as caught:
        await getattr(Cases(), case)()
    promised, happened, written = str(caught.value).splitlines()
    assert promised.startswith("Promised: ")
    assert written == "Written:  a page"
    return happened.removeprefix("Happened: ")


async def test_a_promise_that_is_kept_says_nothing() -> None:
    await Cases().kept()


async def test_a_failure_says_what_was_promised_what_happened_and_where_it_is_written() -> None:
    with pytest.raises(pytest.fail.Exception) as caught:
        await Cases().broken()
    assert str(caught.value) == "Promised: Two lines are one.\nHappened: there was none\nWritten:  a page"


def test_so_without_an_event_loop() -> None:
    with pytest.raises(pytest.fail.Exception, match="Happened: there was none"):
        Cases().broken_without_a_loop()


async def test_what_does_not_come_or_return_is_told() -> None:
    assert await happened("never") == "after 0.1 s: nothing has come"
    assert await happened("hangs") == "after 0.1 s: it has not returned"


@pytest.mark.parametrize("case", ["blocks", "blocks_in_code_that_hides_it"])
async def test_what_blocks_the_event_loop_is_named(case: str) -> None:
    text = await happened(case)
    assert f"blocked by Cases.{case} ({__file__}:" in text


async def test_what_is_raised_has_the_promise_with_it() -> None:
    with pytest.raises(ValueError, match="out of order") as caught:
        await Cases().raises()
    assert caught.value.__notes__ == ["Promised: Nothing is raised.\nWritten:  a page"]


async def test_a_time_limit_of_others_goes_on() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    left = signal.setitimer(signal.ITIMER_REAL, 50.0)
    try:
        await Cases().kept()
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50.0
        signal.raise_signal(signal.SIGALRM)
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *left)


class PutRaises(QueueStrategyContract):
    def make(self, context: StrategyContext) -> ImmediateStrategy:
        strategy = ImmediateStrategy(context)

        def put(messages: Sequence[InboundMessage]) -> None:
            raise LookupError("in put")

        strategy.put = put  # type: ignore[method-assign]  it is what is broken
        return strategy


async def test_what_a_strategy_raises_in_put_is_shown(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"(?s)Happened: .*Raised: .*in put\n.*LookupError: in put"):
        await PutRaises().test_every_message_is_committed_once_and_in_order(tmp_path)


class Unfinished(QueueStrategyContract):
    def make(self, context: StrategyContext) -> ImmediateStrategy:
        raise RuntimeError("there is nothing yet")


async def test_a_child_that_ends_by_itself_shows_why(tmp_path: Path) -> None:
    with pytest.raises(Broken, match=r"(?s)printed 0 of 5 lines.*RuntimeError: there is nothing yet"):
        await killed_child(Unfinished(), "strategy", tmp_path, 5)


async def test_a_class_that_no_child_can_find_is_told(tmp_path: Path) -> None:
    class Inside(Unfinished):
        pass

    with pytest.raises(Broken, match="at the top of its module"):
        await killed_child(Inside(), "strategy", tmp_path, 5)
