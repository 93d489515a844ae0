"""Transforms that keep messages from the server: such a message ends as `filtered`, and its device is told that all is well."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from medagent.config.model import BacklogConfig, RetryConfig
from medagent.testing.queue import QueueWorld, message
from medagent.types import Answer, Delivery, State

TAKEN = Answer(True, "")


def without(*names: str) -> Callable[[str], str | None]:
    """A transform that filters messages by their control IDs."""
    return lambda text: None if text.removeprefix("body of ") in names else text


def bodies(*names: str) -> list[str]:
    return [f"body of {name}" for name in names]


async def later(world: QueueWorld, seconds: float) -> None:
    world.clock.now += seconds
    world.dispatcher.tick()
    await world.quiet()


def told(world: QueueWorld) -> list[tuple[str, Answer]]:
    return [(one.control_id, answer) for one, answer in world.channel.answers]


def rows(folder: Path) -> list[tuple[str, int, int]]:
    """Control ID, state and attempts, after the world has ended."""
    connection = sqlite3.connect(folder / "queue.db")
    found = connection.execute("SELECT control_id, state, attempts FROM message ORDER BY seq").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("window", [1000, 1])
async def test_it_is_stored_answered_and_not_sent(tmp_path: Path, window: int) -> None:
    async with QueueWorld(tmp_path, transforms=[without("t1", "t2")], max_in_flight=window) as world:
        world.uplink.connect()
        await world.accept(message("t1"), message("a"), message("t2"), message("b"))
        assert [one.control_id for one in world.channel.acknowledged] == ["t1", "a", "t2", "b"], "on disk like any other"
        for count in (1, 2):
            await world.sent(min(count * window, 2))
            world.uplink.answer(*world.uplink.transmitted[len(world.settled) - 2 :])
        assert world.uplink.bodies == bodies("a", "b")
        assert [told for told in told(world) if told[0].startswith("t")] == [("t1", TAKEN), ("t2", TAKEN)]
        assert await world.states() == {State.FILTERED: 2, State.RESPONSE_SENT: 2}
        assert sorted(world.settled) == [
            ("a", State.RESPONSE_SENT),
            ("b", State.RESPONSE_SENT),
            ("t1", State.FILTERED),
            ("t2", State.FILTERED),
        ]
        statistics = world.statistics.channels["adt"]
        assert statistics.ended == {State.FILTERED: 2, State.RESPONSE_SENT: 2}
        assert statistics.failed == 0
        assert world.dispatcher.in_flight == 0
    assert [attempts for _, state, attempts in rows(tmp_path) if state == State.FILTERED] == [0, 0]


async def test_a_resend_gets_the_same_answer_and_is_not_sent_either(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, transforms=[without("t")]) as world:
        world.uplink.connect()
        await world.accept(message("t"))
        await world.accept(message("t", link="c2"))  # its state may not be on disk yet
        assert await world.states() == {State.FILTERED: 1}
        await world.accept(message("t", link="c3"))
        assert [(one.link, answer) for one, answer in world.channel.answers] == [(link, TAKEN) for link in ("c1", "c2", "c3")]
        assert await world.states() == {State.FILTERED: 1}
        assert world.statistics.channels["adt"].duplicates == 2
        assert world.uplink.transmitted == []
    async with QueueWorld(tmp_path) as world:  # in a later run, whose transforms filter nothing
        world.uplink.connect()
        await world.accept(message("t", link="c4"))
        assert [(one.link, answer) for one, answer in world.channel.answers] == [("c4", TAKEN)]
        assert world.uplink.transmitted == []


async def test_a_later_transform_is_not_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def note(text: str) -> str:
        asked.append(text)
        return text.upper()

    async with QueueWorld(tmp_path, transforms=[without("t"), note]) as world:
        world.uplink.connect()
        await world.accept(message("t"), message("a"))
        assert asked == bodies("a")
        assert world.uplink.bodies == ["BODY OF A"]


async def test_what_is_filtered_when_the_agent_dies_is_filtered_again(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    async with QueueWorld(before, transforms=[without("t")], change_delay=1000) as world:
        world.uplink.connect()
        await world.accept(message("t"), message("a"))
        assert world.settled == [("t", State.FILTERED)]
        shutil.copytree(before, after)  # what a crash leaves: the change of state is in memory only
    assert [state for _, state, _ in rows_of_copy(after)] == [State.RECEIVED, State.RECEIVED]
    async with QueueWorld(after, transforms=[without("t")]) as world:
        world.channel.delivery = Delivery.GONE
        world.uplink.connect()
        await world.sent(1)
        assert world.uplink.bodies == bodies("a")
        assert world.settled == [("t", State.FILTERED)]
    assert [state for _, state, _ in rows(after)] == [State.FILTERED, State.SENT]


def rows_of_copy(folder: Path) -> list[tuple[str, int, int]]:
    copy = folder.with_name("look")
    shutil.copytree(folder, copy)
    return rows(copy)


async def test_a_slow_device_changes_nothing_about_it(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, transforms=[without("t")]) as world:
        world.channel.delivery = Delivery.QUEUED
        world.uplink.connect()
        await world.accept(message("t"))
        [(slow, _)] = world.channel.answers
        world.settlement.delivered([(slow, Delivery.GONE)])
        assert await world.states() == {State.FILTERED: 1}


async def test_the_next_message_of_its_key_goes_at_once(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, transforms=[without("k/1", "k/2")], max_workers=1) as world:
        world.uplink.connect()
        await world.accept(message("k/1"), message("k/2"), message("k/3"), message("l/1"))
        assert world.uplink.bodies == bodies("k/3")
        world.uplink.answer(*world.uplink.transmitted)
        assert world.uplink.bodies == bodies("k/3", "l/1")
        assert await world.states() == {State.FILTERED: 2, State.RESPONSE_SENT: 1, State.SENT: 1}


@pytest.mark.parametrize("max_workers", [0, 3])
async def test_more_than_memory_holds_is_filtered_without_waiting_for_the_clock(tmp_path: Path, max_workers: int) -> None:
    count = 2600
    async with QueueWorld(tmp_path, max_workers=max_workers) as world:
        await world.accept(*(message(f"{number % 7}/{number}") for number in range(count)))
    async with QueueWorld(tmp_path, max_workers=max_workers, transforms=[lambda text: None]) as world:
        world.uplink.connect()
        await world.quiet()
        assert await world.states() == {State.FILTERED: count}
        assert [one for one, _ in world.settled] == [f"{number % 7}/{number}" for number in range(count)] or max_workers
        assert world.uplink.transmitted == []


async def test_a_message_that_has_failed_may_be_filtered_later(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(max_attempts=5)) as world:
        world.uplink.connect()
        await world.accept(message("t"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        world.dispatcher.use_transforms({"adt": [without("t")]})
        await later(world, 100)
        assert len(world.uplink.transmitted) == 1
        assert await world.states() == {State.FILTERED: 1}
        assert told(world) == [("t", TAKEN)]
    assert rows(tmp_path) == [("t", State.FILTERED, 1)]


async def test_the_search_for_a_bad_message_goes_on_past_it(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("t"), message("b"))
        world.dispatcher.failed("some message could not be served")
        world.dispatcher.use_transforms({"adt": [without("t")]})
        await later(world, 2)
        assert world.uplink.bodies[3:] == bodies("a")
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.sent(5)
        assert world.uplink.bodies[3:] == bodies("a", "b")
        await world.accept(message("c"), message("d"))
        assert world.uplink.bodies[3:] == bodies("a", "b")
        world.uplink.answer(world.uplink.transmitted[-1])
        assert world.uplink.bodies[3:] == bodies("a", "b", "c", "d"), "the search is over"
        assert (await world.states())[State.FILTERED] == 1


async def test_a_reload_waits_for_no_filtered_message(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, transforms=[without("t")]) as world:
        world.uplink.connect()
        await world.accept(message("t"), message("a"))
        world.dispatcher.use_transforms({"adt": [lambda text: None]})
        world.uplink.answer(*world.uplink.transmitted)
        await world.dispatcher.rest(["adt"], seconds=5)
        assert await world.states() == {State.FILTERED: 1, State.RESPONSE_SENT: 1}


async def test_it_leaves_the_backlog(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, transforms=[without("t")], backlog=BacklogConfig(max_messages=2)) as world:
        world.uplink.connect()
        for _ in range(5):
            await world.accept(message("", "body of t"))
        assert world.backlog.refused == 0
        assert await world.states() == {State.FILTERED: 5}
