"""What devices are told, and what the queue says of it, when the store is slow or fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.queue.base import Change
from medagent.testing.queue import QueueWorld, message
from medagent.types import Delivery, State


async def test_why_it_cannot_commit_is_known_until_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with QueueWorld(tmp_path) as world:
        world.store.refuse = lambda messages, changes: True
        await world.accept(message("a"), message("b"))
        await world.accept(message("c"))
        assert world.committer.fault == "OSError"
        assert caplog.text.count("refuses to commit") == 1, "one alarm"
        world.store.refuse = lambda messages, changes: False
        await world.accept(message("d"))
        assert world.committer.fault == ""
        assert "commits again" in caplog.text


async def test_what_is_being_written_is_known(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(message("a"))
        one = world.channel.acknowledged[0]
        assert world.committer.state_of(one) is State.RECEIVED
        world.committer.change(Change(one, State.REJECTED))
        world.store.gate.clear()
        asked = len(world.store.commits)
        flush = asyncio.ensure_future(world.committer.flush_changes())
        while len(world.store.commits) == asked:
            await asyncio.sleep(0)
        assert world.committer.pending(one.seq) is None
        assert world.committer.state_of(one) is State.REJECTED
        world.settlement.delivered([(one, Delivery.SENT)])
        world.store.gate.set()
        await flush
        assert await world.states() == {State.REJECTED: 1}


@pytest.mark.parametrize(
    ("outcome", "state"), [(Delivery.SENT, State.RESPONSE_SENT), (Delivery.GONE, State.RESPONSE_UNDELIVERED)]
)
async def test_the_second_answer_of_a_slow_device_is_a_change_of_the_first_message(
    tmp_path: Path, outcome: Delivery, state: State
) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        world.channel.delivery = Delivery.GONE
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted)
        world.channel.delivery = Delivery.QUEUED
        await world.accept(message("a", link="c2"))
        copy = world.channel.answers[-1][0]
        assert copy.link == "c2"
        await world.committer.flush_changes()
        assert await world.states() == {State.RESPONSE_UNDELIVERED: 1}
        world.settlement.delivered([(copy, outcome)])
        assert await world.states() == {state: 1}
