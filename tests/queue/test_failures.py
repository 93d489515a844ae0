"""The three classes of failure, by the retry settings: what is tried again, when, and what ends."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from medagent.config.model import RetryConfig
from medagent.queue.caution import LOSSES_ALONE, LOSSES_TOGETHER
from medagent.testing.queue import QueueWorld, message
from medagent.types import Delivery, State

PLAIN = RetryConfig(guaranteed=False)
NONE = RetryConfig(auto=False, guaranteed=False)
AFTER_THREE = RetryConfig(max_attempts=3)


def bodies(*names: str) -> list[str]:
    return [f"body of {name}" for name in names]


async def later(world: QueueWorld, seconds: float) -> None:
    world.clock.now += seconds
    world.dispatcher.tick()
    await world.quiet()


def row(folder: Path) -> tuple[Any, ...]:
    """State, status code, error and attempts of the only message, after the world has ended."""
    connection = sqlite3.connect(folder / "queue.db")
    [found] = connection.execute("SELECT state, status_code, error, attempts FROM message").fetchall()
    connection.close()
    return tuple(found)


@pytest.mark.parametrize("status_code", [429, 500, 503])
async def test_a_passing_failure_ends_as_dead_letter_when_the_attempts_are_used_up(tmp_path: Path, status_code: int) -> None:
    async with QueueWorld(tmp_path, retry=AFTER_THREE) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        for attempt in (1, 2, 3):
            assert len(world.uplink.transmitted) == attempt
            assert world.channel.answers == []
            world.uplink.answer(world.uplink.transmitted[-1], status_code=status_code, body="busy")
            await later(world, 100.0)
        [(told, answer)] = world.channel.answers
        assert (told.control_id, answer.accepted, answer.body) == ("a", False, "")
        assert await world.states() == {State.DEAD_LETTER: 1}
        assert world.settled == [("a", State.DEAD_LETTER)]
        assert world.statistics.channels["adt"].ended == {State.DEAD_LETTER: 1}
        await later(world, 100.0)
        assert len(world.uplink.transmitted) == 3
    assert row(tmp_path) == (State.DEAD_LETTER, status_code, "busy", 3)


async def test_without_retries_the_first_failure_is_the_last(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(auto=False)) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503, body="busy")
        assert await world.states() == {State.DEAD_LETTER: 1}
        assert len(world.channel.answers) == 1
    assert row(tmp_path) == (State.DEAD_LETTER, 503, "busy", 1)


@pytest.mark.parametrize("retry", [RetryConfig(), RetryConfig(auto=False), NONE, AFTER_THREE])
async def test_a_lasting_refusal_ends_at_once_whatever_the_settings(tmp_path: Path, retry: RetryConfig) -> None:
    async with QueueWorld(tmp_path, retry=retry) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=422)
        assert await world.states() == {State.REJECTED: 1}


async def test_a_plugins_fault_is_a_passing_failure(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(max_attempts=2)) as world:
        world.channel.poison = {b"body of a"}
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        assert (await world.states())[State.ERROR] == 1
        await later(world, 1.0)
        assert world.settled == [("a", State.DEAD_LETTER)]
        assert world.uplink.bodies == bodies("b")
        assert world.dispatcher.in_flight == 1


async def test_the_delays_are_those_of_the_settings(tmp_path: Path) -> None:
    retry = RetryConfig(base_delay_ms=500, max_delay_ms=4000, backoff_multiplier=3.0)
    async with QueueWorld(tmp_path, retry=retry) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        for attempt, delay in enumerate((0.5, 1.5, 4.0, 4.0), 1):
            world.uplink.answer(world.uplink.transmitted[-1], status_code=503)
            await later(world, delay - 0.01)
            assert len(world.uplink.transmitted) == attempt
            await later(world, 0.02)
            assert len(world.uplink.transmitted) == attempt + 1


@pytest.mark.parametrize("years", [-10, 10], ids=["the clock was put back", "the clock was put forward"])
async def test_a_clock_that_was_moved_delays_a_retry_no_longer_than_the_longest_delay(tmp_path: Path, years: int) -> None:
    retry = RetryConfig(base_delay_ms=20_000, max_delay_ms=30_000)
    async with QueueWorld(tmp_path, retry=retry) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        world.clock.epoch += years * 365 * 86_400
        await later(world, 10.0)
        assert len(world.uplink.transmitted) == 1, "only monotonic time counts"
        await world.committer.flush_changes()
    moved = QueueWorld(tmp_path, retry=retry)
    moved.clock.epoch += years * 365 * 86_400
    async with moved as world:
        world.uplink.connect()
        await later(world, 0.0)
        if years < 0:
            await later(world, 29.9)
            assert world.uplink.bodies == []
        await later(world, 0.2)
        assert world.uplink.bodies == bodies("a")


@pytest.mark.parametrize("retry", [RetryConfig(), RetryConfig(auto=False), RetryConfig(max_attempts=1)])
async def test_guaranteed_what_nobody_knows_is_sent_again_for_ever_and_not_counted(tmp_path: Path, retry: RetryConfig) -> None:
    async with QueueWorld(tmp_path, retry=retry) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        [first] = world.uplink.transmitted
        for repeat in range(1, 10):
            if repeat % 2:
                world.uplink.disconnect()
                assert await world.states() == {State.RECEIVED: 1}
                world.uplink.connect()
            else:
                await later(world, 60.1)
            await world.sent(repeat + 1)
            world.dispatcher.answered([])  # the connection works
        assert set(world.uplink.transmitted) == {first}, "the same callback each time"
        assert world.channel.answers == []
        world.uplink.answer(first)
        assert await world.states() == {State.RESPONSE_SENT: 1}


async def test_guaranteed_only_failures_that_count_use_up_the_attempts_over_restarts_too(tmp_path: Path) -> None:
    for failure in (1, 2, 3):
        async with QueueWorld(tmp_path, retry=AFTER_THREE) as world:
            if failure == 1:
                await world.accept(message("a"))
            await later(world, 50.0)
            world.uplink.connect()
            await world.sent(1)
            world.uplink.disconnect()
            world.uplink.connect()
            await world.sent(2)
            world.uplink.answer(world.uplink.transmitted[-1], status_code=503)
            assert (await world.states()) == {State.DEAD_LETTER if failure == 3 else State.ERROR: 1}
            await later(world, 50.0)
            await world.states()  # sent again, and that is on disk when the agent ends
    assert row(tmp_path)[3] == 3


@pytest.mark.parametrize("loss", ["disconnect", "time-out"])
async def test_not_guaranteed_what_nobody_knows_counts_as_a_failure(tmp_path: Path, loss: str) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(guaranteed=False, max_attempts=2)) as world:
        world.uplink.connect()
        await world.accept(message("a"))

        async def lose() -> None:
            if loss == "disconnect":
                world.uplink.disconnect()
                world.uplink.connect()
                await world.quiet()
            else:
                await later(world, 60.1)

        await lose()
        assert await world.states() == {State.ERROR: 1}
        assert len(world.uplink.transmitted) == 1, "not before its time"
        await later(world, 1.0)
        assert len(world.uplink.transmitted) == 2
        await lose()
        assert await world.states() == {State.DEAD_LETTER: 1}
        assert [answer.accepted for _, answer in world.channel.answers] == [False]
        assert world.dispatcher.in_flight == 0


@pytest.mark.parametrize("loss", ["disconnect", "time-out"])
async def test_neither_retries_nor_guarantee(tmp_path: Path, loss: str) -> None:
    async with QueueWorld(tmp_path, retry=NONE) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        world.uplink.answer(world.uplink.transmitted[0])
        if loss == "disconnect":
            world.uplink.disconnect()
        else:
            await later(world, 60.1)
        assert await world.states() == {State.RESPONSE_SENT: 1, State.DEAD_LETTER: 1}


async def test_not_guaranteed_a_message_that_ends_each_connection_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=PLAIN) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("bad"), message("c"))
        served = 0
        for _ in range(40):
            waiting = world.uplink.transmitted[served:]
            served = len(world.uplink.transmitted)
            if "body of bad" in [sent.body for sent in waiting]:
                world.uplink.disconnect()
                world.uplink.connect()
            else:
                world.uplink.answer(*waiting)
            await later(world, 1.0)
        assert {name for name, _ in world.settled} == {"a", "c"}
        assert await world.states() == {State.RESPONSE_SENT: 2, State.ERROR: 1}


async def test_guaranteed_a_message_that_ends_each_connection_waits_longer_each_time(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(max_attempts=1)) as world:
        world.uplink.connect()
        await world.accept(message("bad"))
        for _ in range(LOSSES_TOGETHER + LOSSES_ALONE - 1):
            world.uplink.disconnect()
            world.uplink.connect()
            await world.quiet()
        for delay in (1.0, 2.0, 4.0):
            sent = len(world.uplink.transmitted)
            world.uplink.disconnect()
            world.uplink.connect()
            assert await world.states() == {State.ERROR: 1}
            await later(world, delay - 0.2)
            await later(world, 0.1)
            assert len(world.uplink.transmitted) == sent
            await later(world, 0.2)
            await later(world, 0.1)
            assert len(world.uplink.transmitted) == sent + 1
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.RESPONSE_SENT: 1}


async def test_strictly_serial_a_failing_message_holds_its_channel_until_the_policy_ends_it(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_in_flight=1, retry=AFTER_THREE) as world:
        world.uplink.connect()
        await world.accept(message("bad"), message("b"))
        for attempt in (1, 2, 3):
            assert world.uplink.bodies == bodies("bad") * attempt
            world.uplink.answer(world.uplink.transmitted[-1], status_code=503)
            if attempt < 3:
                await later(world, 100.0)
        assert world.uplink.bodies == bodies("bad", "bad", "bad", "b")


async def test_a_message_that_was_given_up_is_sent_again_when_the_device_sends_it_again(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=NONE) as world:
        world.channel.delivery = Delivery.QUEUED
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        world.settlement.delivered([(world.channel.acknowledged[0], Delivery.GONE)])
        assert await world.states() == {State.DEAD_LETTER: 1}, "it stays that, whatever becomes of its answer"
        await world.accept(message("a"))
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.DEAD_LETTER: 1, State.RESPONSE_QUEUED: 1}


async def test_many_given_up_make_one_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with QueueWorld(tmp_path, retry=NONE) as world:
        world.uplink.connect()
        await world.accept(*(message(f"m{number}") for number in range(20)))
        world.uplink.answer(*world.uplink.transmitted, status_code=503, body="canary")
        assert await world.states() == {State.DEAD_LETTER: 20}
    assert caplog.text.count("given up") == 1
    assert "canary" not in caplog.text
