"""The whole agent under seeded faults: nothing is violated, each seed is the same each time, and planted bugs are found."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.immediate import ImmediateStrategy
from medagent.testing.simulation.journal import Violation
from medagent.testing.simulation.run import simulate
from medagent.types import InboundMessage

HERE = Path(__file__).parent
SEEDS, SHARES = 120, 8
"""Seeds, and among how many tests they are shared."""
MOST_SEEDS = 60
"""Within so many each planted bug must be found."""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"simulation_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUGS = _load("bugs").BUGS


@pytest.mark.parametrize("share", range(SHARES))
def test_nothing_is_violated(share: int) -> None:
    results = [simulate(seed) for seed in range(share, SEEDS, SHARES)]
    assert sum(result.seconds for result in results) / len(results) > 120, "some minutes of virtual time each"
    assert sum(result.messages for result in results) > 1000
    assert sum(result.starts for result in results) > len(results), "agents have crashed and started again"


def test_a_seed_is_the_same_each_time() -> None:
    first, second = (simulate(7, keep_log=True) for _ in range(2))
    assert first.log == second.log
    assert first == second
    assert simulate(8).digest != first.digest


async def test_a_seed_is_the_same_in_every_process() -> None:
    outputs = set()
    for hash_seed in ("1", "2"):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(HERE / "simulate.py"), "--seed", "5", "--verbose"),
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            stdout=asyncio.subprocess.PIPE,
        )
        stdout, _ = await process.communicate()
        assert process.returncode == 0
        outputs.add(stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) > 100


async def test_the_program_runs_many_seeds() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / "simulate.py"), "--from", "300", "--seeds", "8", "--hours", "0.02", "--jobs", "2"),
        stdout=asyncio.subprocess.PIPE,
    )
    stdout, _ = await process.communicate()
    result = json.loads(stdout)
    assert process.returncode == 0
    assert (result["seeds"], result["violations"]) == (8, [])


@contextmanager
def planted(bug: Any) -> Iterator[None]:  # a `bugs.Bug`
    with ExitStack() as stack:
        for patch in bug.patches:
            stack.enter_context(patch)
        yield


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Any) -> None:  # a `bugs.Bug`
    def attempt(seed: int) -> Violation | None:
        try:
            simulate(seed, disk=bug.disk)
        except Violation as violation:
            return violation
        return None

    with planted(bug):
        found = next(
            (
                violation
                for seed in range(bug.first_seed, bug.first_seed + MOST_SEEDS)
                if (violation := attempt(seed)) is not None
            ),
            None,
        )
        assert found is not None
        assert found.invariant in bug.invariants
        assert f"seed {found.seed}, step {found.step}" in str(found)
        again = attempt(found.seed)
    assert str(again) == str(found), "it replays, byte for byte"
    assert simulate(found.seed).seed == found.seed, "without the bug nothing is found"


class Twice(ImmediateStrategy):
    """Commits everything twice."""

    def __init__(self, context: StrategyContext) -> None:
        async def twice(messages: Sequence[InboundMessage]) -> None:
            await context.commit(messages)
            await context.commit(messages)

        super().__init__(replace(context, commit=twice))


class Forgetful(BatchedStrategy):
    """Loses every fifth message, and fails now and then."""

    def put(self, messages: Sequence[InboundMessage]) -> None:
        super().put([message for message in messages if message.seq % 5])
        if any(message.seq % 97 == 0 for message in messages):
            raise RuntimeError("of the plugin")


@pytest.mark.parametrize("strategy", [Twice, Forgetful])
def test_a_third_partys_strategy_violates_nothing_however_bad_it_is(
    strategy: Callable[[StrategyContext], QueueStrategy],
) -> None:
    assert sum(simulate(seed, strategy=strategy).messages for seed in range(12)) > 0


def test_another_strategy_can_be_put_through_it() -> None:
    assert simulate(3, strategy=ImmediateStrategy).messages > 0
