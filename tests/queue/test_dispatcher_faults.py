"""From the queue to the server and back, when server, store or plugins fail."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.config.model import RetryConfig
from medagent.queue.caution import GRACE
from medagent.queue.lane import PAGE_MESSAGES
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage, State
from medagent.uplink.base import Response

RETRY_BASE = RetryConfig().base_delay_ms / 1000
RETRY_CAP = RetryConfig().max_delay_ms / 1000


def bodies(*names: str) -> list[str]:
    return [f"body of {name}" for name in names]


async def later(world: QueueWorld, seconds: float) -> None:
    world.clock.now += seconds
    world.dispatcher.tick()
    await world.quiet()


async def test_what_the_server_refuses_is_rejected_and_the_device_told(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=400, body="no such patient: Jane Canary")
        [(_, answer)] = world.channel.answers
        assert (answer.accepted, answer.body) == (False, "")
        assert await world.states() == {State.REJECTED: 1}
        assert world.settled == [("a", State.REJECTED)]


@pytest.mark.parametrize("status_code", [429, 500, 503, 599])
async def test_a_passing_refusal_is_tried_again_with_back_off(tmp_path: Path, status_code: int) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        delays = []
        for attempt in range(1, 9):
            world.uplink.answer(world.uplink.transmitted[-1], status_code=status_code)
            assert await world.states() == {State.ERROR: 1}
            delay = min(RETRY_BASE * 2 ** (attempt - 1), RETRY_CAP)
            delays.append(delay)
            await later(world, delay - 0.01)
            assert len(world.uplink.transmitted) == attempt
            await later(world, 0.02)
            assert len(world.uplink.transmitted) == attempt + 1
        assert delays[:3] == [1, 2, 4]
        assert delays[-1] == RETRY_CAP
        assert len({sent.callback for sent in world.uplink.transmitted}) == 1
        assert world.channel.answers == [], "while it is tried the device hears nothing"
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.RESPONSE_SENT: 1}
        assert world.statistics.channels["adt"].failed == 8


async def test_a_retry_outlives_a_restart(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        await world.committer.flush_changes()
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await later(world, RETRY_BASE)
        assert world.uplink.bodies == bodies("a")


async def test_others_go_on_during_a_retry_but_not_where_order_counts(tmp_path: Path) -> None:
    for window, expected in ((2, bodies("a", "b", "c")), (1, bodies("a"))):
        async with QueueWorld(tmp_path / str(window), max_in_flight=window) as world:
            world.uplink.connect()
            await world.accept(message("a"), message("b"), message("c"))
            world.uplink.answer(world.uplink.transmitted[0], status_code=503)
            assert world.uplink.bodies == expected
            if window == 1:
                await later(world, RETRY_BASE)
                assert world.uplink.bodies == bodies("a", "a")
                world.uplink.answer(world.uplink.transmitted[-1])
                assert world.uplink.bodies == bodies("a", "a", "b")


async def test_without_an_answer_in_time_the_same_key_is_sent_again(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        one, two = world.uplink.transmitted
        world.uplink.answer(two)
        await later(world, 59.9)
        assert len(world.uplink.transmitted) == 2
        await later(world, 0.2)
        await world.sent(3)
        assert world.uplink.transmitted[2] == one
        assert world.statistics.channels["adt"].timed_out == 1
        world.uplink.answer(one)
        assert await world.states() == {State.RESPONSE_SENT: 2}
        assert world.dispatcher.in_flight == 0


async def test_a_retry_that_is_due_while_the_server_is_away_is_not_lost(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        world.uplink.disconnect()
        await later(world, 100)
        assert len(world.uplink.transmitted) == 1
        world.uplink.connect()
        await world.sent(2)


async def test_a_retry_that_a_full_uplink_does_not_take_is_not_lost(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_in_flight=1) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        world.uplink.capacity = 0
        await later(world, RETRY_BASE)
        assert world.dispatcher.in_flight == 0
        world.uplink.drain()
        await later(world, RETRY_BASE)
        assert world.uplink.bodies == bodies("a", "a")


async def test_a_retry_that_could_not_be_read_is_not_lost(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_in_flight=1) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        world.store.fail_reads = True
        await later(world, RETRY_BASE)
        world.store.fail_reads = False
        await later(world, RETRY_BASE)
        assert world.uplink.bodies == bodies("a", "a")


async def test_a_page_that_could_not_be_read_is_read_later(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(message("a"))
    async with QueueWorld(tmp_path) as world:
        world.store.fail_reads = True
        world.uplink.connect()
        await world.quiet()
        world.store.fail_reads = False
        await later(world, 0.5)
        assert world.uplink.bodies == bodies("a")


async def test_what_is_rewound_while_a_page_is_read_keeps_its_place(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(PAGE_MESSAGES + 100)]
    async with QueueWorld(tmp_path) as world:
        await world.accept(*(message(name) for name in names))
    async with QueueWorld(tmp_path) as world:
        world.store.gate.clear()
        world.uplink.connect()
        await world.sent(PAGE_MESSAGES)
        while not world.store.commits:  # before the next page is read, what was sent is marked as sent
            await asyncio.sleep(0)
        world.uplink.disconnect()
        world.uplink.connect()
        world.store.gate.set()
        await world.sent(PAGE_MESSAGES + len(names))
        assert world.uplink.bodies[PAGE_MESSAGES:] == bodies(*names)


async def test_while_the_disk_is_full_nothing_unanswered_is_forgotten(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"), message("c"))
        await world.committer.flush_changes()
        world.store.refuse = lambda messages, changes: True
        world.uplink.answer(world.uplink.transmitted[0])
        world.uplink.disconnect()
        world.uplink.connect()
        await later(world, 0.5)
        await world.accept(message("d"))
        assert [one.control_id for one, _ in world.channel.refusals] == ["d"]
        world.store.refuse = lambda messages, changes: False
        await world.committer.flush_changes()
        await later(world, 0.5)
        await world.sent(5)
        assert world.uplink.bodies[3:] == bodies("b", "c")
        world.uplink.answer(*world.uplink.transmitted[3:])
        assert await world.states() == {State.RESPONSE_SENT: 3}
        assert world.dispatcher.in_flight == 0


@pytest.mark.parametrize("fault", ["channel", "transform", "transform that returns no text", "uplink"])
@pytest.mark.parametrize("window", [1000, 2])
async def test_a_message_that_a_plugin_fails_on_waits_and_the_others_go_on(
    tmp_path: Path, fault: str, window: int, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def transform(text: str) -> str | bytes:
        if broken and text == "canary" and fault.startswith("transform"):
            if fault == "transform":
                raise ValueError(text)
            return b"canary"
        return text

    async with QueueWorld(tmp_path, transforms=[transform], max_in_flight=window) as world:
        if fault == "channel":
            world.channel.poison = {b"canary"}
        if fault == "uplink":
            world.uplink.poison = {"canary"}
        world.uplink.connect()
        await world.accept(message("a"), message("bad", "canary"), message("b"))
        assert [one.control_id for one in world.channel.acknowledged] == ["a", "bad", "b"]
        await world.sent(2)
        assert world.uplink.bodies == bodies("a", "b")
        assert await world.states() == {State.SENT: 2, State.ERROR: 1}
        world.uplink.answer(*world.uplink.transmitted)
        await world.accept(message("c"))
        assert world.uplink.bodies == bodies("a", "b", "c")
        await later(world, RETRY_BASE)
        assert world.uplink.bodies == bodies("a", "b", "c"), "still failing"
        broken, world.channel.poison, world.uplink.poison = False, set(), set()
        await later(world, 2 * RETRY_BASE)
        assert world.uplink.bodies[3:] == ["canary"]
        world.uplink.answer(*world.uplink.transmitted[2:])
        assert await world.states() == {State.RESPONSE_SENT: 4}
        assert world.dispatcher.in_flight == 0
    assert "canary" not in caplog.text


async def test_a_full_uplink_that_raises_on_one_message_loses_none_of_the_others(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.poison = {"body of bad"}
        world.uplink.connect()
        world.uplink.capacity = 2
        await world.accept(*(message(name) for name in ("a", "bad", "b", "c", "d")))
        assert world.uplink.bodies == bodies("a", "b")
        assert world.dispatcher.in_flight == 2
        world.uplink.drain()
        assert world.uplink.bodies == bodies(*"abcd")


async def test_a_server_error_narrows_down_to_the_one_that_fails_alone(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(*(message(name) for name in ("a", "bad", "b", "c")))
        first = list(world.uplink.transmitted)
        world.uplink.answer(first[3])
        world.dispatcher.failed("no")
        await world.accept(message("d"))
        await later(world, GRACE / 2)
        assert len(world.uplink.transmitted) == 4, "in the grace and during the search nothing else is sent"
        world.uplink.answer(first[0])
        await later(world, GRACE / 2)
        alone: list[str] = []
        while len(world.settled) < 5:
            await world.sent(4 + len(alone) + 1)
            sent = world.uplink.transmitted[4 + len(alone)]
            alone.append(sent.body)
            assert world.dispatcher.in_flight == 1
            if sent.body == "body of bad":
                world.dispatcher.failed("no")
            else:
                world.uplink.answer(sent)
        assert alone == bodies("bad", "bad", "b", "d")
        assert len({sent.callback for sent in world.uplink.transmitted}) == 5, "the same keys"
        assert world.settled[2] == ("bad", State.REJECTED)
        assert await world.states() == {State.RESPONSE_SENT: 4, State.REJECTED: 1}
        told = {given.control_id: answer.accepted for given, answer in world.channel.answers}
        assert told == {"a": True, "bad": False, "b": True, "c": True, "d": True}


async def test_a_server_error_while_nothing_waits_is_harmless(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        world.dispatcher.failed("what?")
        await world.accept(message("a"))
        assert world.uplink.bodies == bodies("a")
        assert world.statistics.server_errors == 1


async def test_a_server_that_hangs_up_over_a_message_does_not_end_the_search(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("bad"), message("b"), message("c"))
        for attempt in (1, 2):
            world.dispatcher.failed("no")
            world.uplink.disconnect()
            world.uplink.connect()
            await world.quiet()
            assert world.uplink.bodies[3:] == bodies("bad") * attempt, "one at a time"
        world.dispatcher.failed("no")
        assert world.settled == [("bad", State.REJECTED)]
        assert world.uplink.bodies[5:] == bodies("b")
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.quiet()
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.RESPONSE_SENT: 2, State.REJECTED: 1}
        assert world.dispatcher.in_flight == 0


async def test_a_late_error_harms_nobody(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        world.dispatcher.failed("no")
        await later(world, GRACE)
        assert world.uplink.bodies[2:] == bodies("a")
        world.dispatcher.failed("late")
        await world.quiet()
        assert world.uplink.bodies[2:] == bodies("a", "a")
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.quiet()
        assert world.uplink.bodies[2:] == bodies("a", "a", "b")
        world.uplink.answer(world.uplink.transmitted[-1])
        assert await world.states() == {State.RESPONSE_SENT: 2}


async def test_a_full_uplink_does_not_stop_the_search(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        world.dispatcher.failed("no")
        world.uplink.capacity = 0
        await later(world, GRACE)
        assert len(world.uplink.transmitted) == 2
        world.uplink.drain()
        await world.quiet()
        assert world.uplink.bodies[2:] == bodies("a")


@pytest.mark.parametrize("fault", ["store", "channel"])
async def test_a_fault_does_not_stop_the_search(tmp_path: Path, fault: str) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        world.dispatcher.failed("no")
        if fault == "store":
            world.store.fail_reads = True
            await later(world, GRACE)
            world.store.fail_reads = False
            await later(world, 0.5)
            assert world.uplink.bodies[2:] == bodies("a")
        else:
            world.channel.poison = {b"body of a"}
            await later(world, GRACE)
            await later(world, 0.5)
            assert world.uplink.bodies[2:] == bodies("b")
            assert (await world.states())[State.ERROR] == 1


@given(
    st.lists(st.sampled_from(["accept", "answer", "busy", "refuse", "lose", "error", "wait"]), max_size=25), st.integers(1, 4)
)
@settings(max_examples=40, deadline=None)
async def test_whatever_happens_every_message_ends_once(
    tmp_path_factory: pytest.TempPathFactory, events: list[str], window: int
) -> None:
    async with QueueWorld(tmp_path_factory.mktemp("queue"), max_in_flight=window, change_delay=3600) as world:
        world.uplink.connect()
        served = number = 0
        for event in events:
            if event == "accept":
                await world.accept(*(message(f"m{number + offset}") for offset in range(3)))
                number += 3
            elif event == "lose":
                world.uplink.disconnect()
                world.uplink.connect()
            elif event == "error":
                world.dispatcher.failed("no")
            elif event == "wait":
                await later(world, 61.0)
            elif served < len(world.uplink.transmitted):
                status_code = {"answer": 200, "busy": 503, "refuse": 422}[event]
                world.uplink.answer(world.uplink.transmitted[served], status_code=status_code)
                served += 1
            await world.quiet()
            assert world.dispatcher.in_flight <= window
        for _ in range(200):
            if len(world.settled) == number:
                break
            waiting = world.uplink.transmitted[served:]
            served += len(waiting)
            world.uplink.answer(*waiting)
            await later(world, 1.0)
        assert sorted(name for name, _ in world.settled) == sorted(f"m{index}" for index in range(number))
        states = await world.states()
        assert sum(states.values()) == number
        assert set(states) <= {State.RESPONSE_SENT, State.REJECTED}
        firsts = list(dict.fromkeys(world.uplink.bodies))
        assert firsts == bodies(*(f"m{index}" for index in range(number))), "first attempts leave in order"
        assert world.dispatcher.in_flight == 0


async def test_a_copy_that_comes_while_its_message_is_read_gets_the_answer(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        await world.sent(2)
        world.uplink.answer(*world.uplink.transmitted, status_code=503)
        await world.committer.flush_changes()
        fetch_one, started, go_on = world.store.fetch_one, asyncio.Event(), asyncio.Event()

        async def slow(seq: int) -> InboundMessage | None:
            found = await fetch_one(seq)
            started.set()
            await go_on.wait()
            return found

        world.store.fetch_one = slow  # type: ignore[method-assign]  # of this one object
        world.clock.now += 60.0
        world.dispatcher.tick()
        await started.wait()
        await world.accept(message("a", link="c2"))
        go_on.set()
        await world.sent(4)
        world.uplink.answer(*world.uplink.transmitted[2:])
        assert {one.control_id: one.link for one, _ in world.channel.answers} == {"a": "c2", "b": "c1"}


@pytest.mark.parametrize("wrong", [{"status_code": None}, {"body": None}, {"callback": []}])
async def test_an_answer_that_an_uplink_makes_up_settles_nothing(
    tmp_path: Path,
    wrong: dict[str, Any],  # fields of `Response`
) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        await world.sent(2)
        first, second = world.uplink.transmitted
        sound = Response(first.callback, 200, "text/plain", "ok")
        with pytest.raises(TypeError):
            world.dispatcher.answered([sound, msgspec.structs.replace(sound, **{"callback": second.callback} | wrong)])
        world.uplink.disconnect()
        world.uplink.connect()
        await world.quiet()
        assert world.uplink.bodies == 2 * bodies("a", "b")
        world.uplink.answer(*world.uplink.transmitted[2:])
        assert [control_id for control_id, _ in world.settled] == ["a", "b"]
