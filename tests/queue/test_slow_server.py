"""A server that works, but slowly: how much it is given at once, what is sent again, and which of its answers count."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.model import AgentConfig
from medagent.testing.queue import QueueWorld, message
from medagent.types import State

TIMEOUT = AgentConfig("a-1", "Test").response_timeout_ms / 1000


async def later(world: QueueWorld, seconds: float) -> None:
    world.clock.now += seconds
    world.dispatcher.tick()
    await world.quiet()


@pytest.mark.parametrize("max_workers", [0, 4], ids=["in order", "by key"])
async def test_nothing_is_sent_twice_while_answers_come_within_the_time_out(tmp_path: Path, max_workers: int) -> None:
    async with QueueWorld(tmp_path, max_in_flight=3, max_workers=max_workers) as world:
        world.uplink.connect()
        await world.accept(*(message(f"m{number}", f"k{number}/m{number}") for number in range(9)))
        served = 0
        while served < 9:
            await world.sent(served + 1)
            waiting = world.uplink.transmitted[served:]
            assert len(waiting) == world.dispatcher.in_flight <= 3
            for _ in range(int(TIMEOUT) - 1):
                await later(world, 1.0)
            world.uplink.answer(*waiting)
            served += len(waiting)
        assert len(world.uplink.transmitted) == 9
        assert await world.states() == {State.RESPONSE_SENT: 9}


async def test_a_server_that_answers_nothing_gets_the_window_and_not_more(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_in_flight=3) as world:
        world.uplink.connect()
        await world.accept(*(message(f"m{number}") for number in range(50)))
        for rounds in range(1, 4):
            await later(world, TIMEOUT)
            assert world.dispatcher.in_flight == 3
            assert len({sent.callback for sent in world.uplink.transmitted}) == 3
            assert len(world.uplink.transmitted) == 3 * (rounds + 1)


@pytest.mark.parametrize("max_workers", [0, 4], ids=["in order", "by key"])
async def test_after_the_time_out_the_first_answer_counts_and_the_other_harms_nothing(tmp_path: Path, max_workers: int) -> None:
    async with QueueWorld(tmp_path, max_workers=max_workers) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        await later(world, TIMEOUT)
        attempts = [sent for sent in world.uplink.transmitted if sent.body == "body of a"]
        assert [sent.callback for sent in attempts] == [attempts[0].callback] * 2
        world.uplink.answer(attempts[0], body="first")
        world.uplink.answer(attempts[1], body="second")
        assert [answer.body for _, answer in world.channel.answers] == ["first"]
        assert world.dispatcher.unmatched == 1
        await later(world, 2 * TIMEOUT)
        assert len([sent for sent in world.uplink.transmitted if sent.body == "body of a"]) == 2
        assert (await world.states())[State.RESPONSE_SENT] == 1


async def test_an_answer_before_the_message_went_again_is_not_told_and_the_next_one_is(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.capacity = 0  # the server reads nothing either
        await later(world, TIMEOUT)
        world.uplink.answer(world.uplink.transmitted[0], body="late")
        assert (world.dispatcher.unmatched, world.channel.answers) == (1, [])
        world.uplink.drain()
        await later(world, 1.0)
        world.uplink.answer(world.uplink.transmitted[1], body="in time")
        assert [answer.body for _, answer in world.channel.answers] == ["in time"]
        assert await world.states() == {State.RESPONSE_SENT: 1}
