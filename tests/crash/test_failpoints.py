"""A real agent dies at every named point under load, in every strategy and acknowledgment mode: I1 to I5, I7, I8, I10."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path

import pytest

from medagent.failpoints import VARIABLE
from medagent.testing.crash_site import MODES, STRATEGIES, CrashSite
from medagent.testing.invariants import check

POINTS = {
    "after_read": 4,
    "before_commit": 5,
    "after_commit": 5,
    "after_ack": 4,
    "after_send": 4,
    "after_response": 4,
    "in_snapshot": 4,
}
"""How often each is reached before the agent dies: late enough that much is on its way."""
KILLED = -9
EVERY = list(itertools.product(POINTS, STRATEGIES, MODES))
PAIRS = [
    (point, list(STRATEGIES)[(number + place) % len(STRATEGIES)], mode)
    for number, point in enumerate(POINTS)
    for place, mode in enumerate(MODES)
]
"""Each point with each strategy and each mode, and each strategy with each mode."""


@pytest.mark.parametrize(("point", "strategy", "mode"), EVERY if "MEDAGENT_LONG_TESTS" in os.environ else PAIRS)
async def test_death_at_a_point(tmp_path: Path, point: str, strategy: str, mode: str) -> None:
    channels = {mode: MODES[mode]}
    async with CrashSite(tmp_path, strategy=strategy, channels=channels, senders=2, window=30, sizes=(500, 4000)) as site:
        async with site.agent({VARIABLE: f"{point}:{POINTS[point]}"}) as dying:
            await site.listening(dying)
            load = asyncio.ensure_future(site.load(dying))
            assert await dying.wait() == KILLED
            await load
        sent_before = sum(len(sender.outstanding) + sender.acknowledged for sender in site.all_senders)
        assert sent_before > 0
        async with site.agent() as living:
            await site.listening(living)
            await site.settle(living)
    assert sum(sender.acknowledged for sender in site.all_senders) == sent_before
    assert check(site.evidence()) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_death_in_the_recovery(tmp_path: Path, strategy: str) -> None:
    # the log of a killed agent is copied into the file before anything else
    async with CrashSite(tmp_path, strategy=strategy, senders=1, window=30, sizes=(500, 4000)) as site:
        async with site.agent({VARIABLE: "after_ack:5"}) as dying:
            await site.listening(dying)
            await site.load(dying)
            assert await dying.wait() == KILLED
        async with site.agent({VARIABLE: "in_checkpoint:1"}) as dying:
            assert await dying.wait() == KILLED
        async with site.agent() as living:
            await site.listening(living)
            await site.settle(living)
    assert check(site.evidence()) == []


async def test_death_while_ended_messages_are_deleted(tmp_path: Path) -> None:
    settings = {"queueRetentionMaxMb": 1}
    async with CrashSite(tmp_path, strategy="batched", senders=2, window=30, sizes=(20_000, 40_000), settings=settings) as site:
        async with site.agent({VARIABLE: "in_retention:2"}) as dying:
            await site.listening(dying)
            await site.load(dying)
            assert await dying.wait() == KILLED
        async with site.agent() as living:
            await site.listening(living)
            await site.settle(living)
    assert check(site.evidence()) == []
