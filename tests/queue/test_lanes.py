"""Lanes that are removed while messages wait in them, and made again, as at a reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.model import AgentConfig, RetryConfig
from medagent.testing.queue import QueueWorld, message
from medagent.types import State

TIMEOUT = AgentConfig("", "").response_timeout_ms / 1000
DELAY = RetryConfig().base_delay_ms / 1000


async def later(world: QueueWorld, seconds: float) -> None:
    world.clock.now += seconds
    world.dispatcher.tick()
    await world.quiet()


async def made_again(world: QueueWorld) -> None:
    world.dispatcher.remove_lane("adt")
    await world.committer.flush_changes()
    await world.dispatcher.add_lane("adt", world.intake.last_seq)


async def test_what_waits_after_a_time_out_is_sent_again(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        await world.committer.flush_changes()
        world.uplink.capacity = 0
        await later(world, TIMEOUT + 1)
        await made_again(world)
        world.uplink.drain()
        await later(world, DELAY)
        await world.sent(2)
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.RESPONSE_SENT: 1}


async def test_a_failure_that_is_not_written_yet_is_known(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.store.refuse = lambda messages, changes: True
        world.uplink.answer(*world.uplink.transmitted, status_code=500)
        await made_again(world)
        await later(world, DELAY + 1)
        assert len(world.uplink.transmitted) == 2
        world.store.refuse = lambda messages, changes: False
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.RESPONSE_SENT: 1}


async def test_what_has_ended_is_not_sent_again_although_the_file_does_not_know(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=500)
        await world.committer.flush_changes()
        world.store.refuse = lambda messages, changes: True
        await later(world, DELAY + 1)
        world.uplink.answer(world.uplink.transmitted[-1])
        await made_again(world)
        await later(world, DELAY + 1)
        assert len(world.uplink.transmitted) == 2


async def test_a_lane_that_cannot_be_read_is_none_until_it_can(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=500)
        world.store.fail_reads = True
        with pytest.raises(OSError, match="input/output"):
            await made_again(world)
        assert "adt" in world.dispatcher.lanes_to_make({"adt": world.channels["adt"]}, 1000)
        world.store.fail_reads = False
        await world.dispatcher.add_lane("adt", world.intake.last_seq)
        await later(world, DELAY + 1)
        assert len(world.uplink.transmitted) == 2
