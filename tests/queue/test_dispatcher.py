"""From the queue to the server and back, with a server that is well."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.queue import lane as lane_module
from medagent.testing.queue import QueueWorld, message
from medagent.types import AcceptanceRules, Delivery, InboundMessage, State


def bodies(*names: str) -> list[str]:
    return [f"body of {name}" for name in names]


async def test_what_is_committed_is_sent_answered_and_ended(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        one, two = world.uplink.transmitted
        assert (one.channel, one.remote, one.content_type, one.body) == ("adt", "10.0.0.7:41022", "text/plain", "body of a")
        assert one.callback == world.channel.acknowledged[0].callback
        assert await world.states() == {State.SENT: 2}
        assert world.dispatcher.in_flight == 2
        world.uplink.answer(two, one)
        assert [(given.control_id, answer.accepted, answer.body) for given, answer in world.channel.answers] == [
            ("b", True, "ACK of body of b"),
            ("a", True, "ACK of body of a"),
        ]
        assert await world.states() == {State.RESPONSE_SENT: 2}
        assert world.dispatcher.in_flight == 0
        assert world.settled == [("b", State.RESPONSE_SENT), ("a", State.RESPONSE_SENT)]


async def test_nothing_is_sent_before_the_commit(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        world.store.gate.clear()
        world.intake.accept("adt", [message("a")])
        while not world.store.commits:
            await asyncio.sleep(0)
        assert world.uplink.transmitted == []
        world.store.gate.set()
        await world.sent(1)


@pytest.mark.parametrize(
    ("delivery", "state"),
    [
        (Delivery.SENT, State.RESPONSE_SENT),
        (Delivery.NOT_OWED, State.PROCESSED),
        (Delivery.GONE, State.RESPONSE_UNDELIVERED),
        (Delivery.QUEUED, State.RESPONSE_QUEUED),
    ],
)
async def test_what_becomes_of_the_answer_is_the_state(tmp_path: Path, delivery: Delivery, state: State) -> None:
    async with QueueWorld(tmp_path) as world:
        world.channel.delivery = delivery
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted)
        assert await world.states() == {state: 1}


@pytest.mark.parametrize("written", [True, False], ids=["row written", "row pending"])
@pytest.mark.parametrize(
    ("outcome", "state"), [(Delivery.SENT, State.RESPONSE_SENT), (Delivery.GONE, State.RESPONSE_UNDELIVERED)]
)
async def test_a_slow_device_is_told_in_the_end_or_has_gone(
    tmp_path: Path, outcome: Delivery, state: State, written: bool
) -> None:
    async with QueueWorld(tmp_path) as world:
        world.channel.delivery = Delivery.QUEUED
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted)
        if written:
            await world.committer.flush_changes()
        world.settlement.delivered([(world.channel.acknowledged[0], outcome)])
        assert await world.states() == {state: 1}
        await world.accept(message("a"))
        assert [answer.body for _, answer in world.channel.answers] == ["ACK of body of a"] * 2, "it is kept for a resend"


@pytest.mark.parametrize("written", [True, False], ids=["row written", "row pending"])
async def test_a_refusal_stays_one_whatever_becomes_of_its_answer(tmp_path: Path, written: bool) -> None:
    async with QueueWorld(tmp_path) as world:
        world.channel.delivery = Delivery.QUEUED
        world.uplink.connect()
        await world.accept(message("a"))
        world.uplink.answer(*world.uplink.transmitted, status_code=400)
        if written:
            await world.committer.flush_changes()
        world.settlement.delivered([(world.channel.acknowledged[0], Delivery.GONE)])
        assert await world.states() == {State.REJECTED: 1}


async def test_no_more_than_the_window_is_unanswered(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_in_flight=3) as world:
        world.uplink.connect()
        await world.accept(*(message(name) for name in "abcde"))
        assert world.uplink.bodies == bodies("a", "b", "c")
        world.uplink.answer(world.uplink.transmitted[1])
        assert world.uplink.bodies == bodies("a", "b", "c", "d")
        world.uplink.answer(*world.uplink.transmitted)
        assert world.uplink.bodies == bodies(*"abcde")


async def test_each_channel_has_its_own_window(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, channels=("adt", "oru"), max_in_flight=1) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        await world.accept(message("c"), channel="oru")
        assert world.uplink.bodies == bodies("a", "c")


async def test_only_what_the_uplink_took_is_sent(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        world.uplink.capacity = 2
        await world.accept(*(message(name) for name in "abcde"))
        assert world.dispatcher.in_flight == 2
        assert await world.states() == {State.SENT: 2, State.RECEIVED: 3}
        world.uplink.drain(1)
        assert world.uplink.bodies == bodies(*"abc")
        world.uplink.drain()
        assert world.uplink.bodies == bodies(*"abcde")


async def test_a_full_uplink_serves_the_channels_in_turn(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, channels=("adt", "oru")) as world:
        world.uplink.connect()
        world.uplink.capacity = 0
        await world.accept(*(message(f"a{number}") for number in range(10)))
        await world.accept(*(message(f"o{number}") for number in range(3)), channel="oru")
        for _ in range(4):
            world.uplink.drain(2)
        assert {sent.channel for sent in world.uplink.transmitted[:6]} == {"adt", "oru"}
        world.uplink.drain()
        for prefix, count in (("a", 10), ("o", 3)):
            sent = [body for body in world.uplink.bodies if body.startswith(f"body of {prefix}")]
            assert sent == bodies(*(f"{prefix}{number}" for number in range(count))), "each in its order"


async def test_a_lost_connection_sends_all_unanswered_again_in_order_under_the_same_keys(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(*(message(name) for name in "abcdef"))
        first = list(world.uplink.transmitted)
        world.uplink.answer(first[1], first[4])
        world.uplink.disconnect()
        assert world.dispatcher.in_flight == 0
        await world.accept(message("g"))
        world.uplink.connect()
        await world.sent(11)
        again = world.uplink.transmitted[6:]
        assert [sent.body for sent in again] == bodies(*"acdfg")
        assert [sent.callback for sent in again[:4]] == [first[index].callback for index in (0, 2, 3, 5)]
        world.uplink.answer(*again)
        assert await world.states() == {State.RESPONSE_SENT: 7}
        assert len(world.channel.answers) == 7


async def test_after_a_restart_the_same(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(*(message(name) for name in "abc"))
        world.uplink.answer(world.uplink.transmitted[0])
        await world.committer.flush_changes()
        first = list(world.uplink.transmitted)
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.sent(2)
        await world.accept(message("d"))
        await world.sent(3)
        assert world.uplink.bodies == bodies(*"bcd")
        assert [sent.callback for sent in world.uplink.transmitted[:2]] == [sent.callback for sent in first[1:]]


async def test_a_backlog_larger_than_the_memory_is_worked_off_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "READY_BYTES", 20_000)
    async with QueueWorld(tmp_path, max_in_flight=50) as world:
        for start in range(0, 5000, 1000):
            await world.accept(*(message(f"m{number:04}") for number in range(start, start + 1000)))
        held = [one for one in world.channel.acknowledged if one.body is not None]
        assert len(held) < 3000, "the others wait on disk"
        world.uplink.connect()
        answered = 0
        while answered < 5000:
            await world.sent(answered + 1)
            waiting = world.uplink.transmitted[answered:]
            assert len(waiting) <= 50
            answered += len(waiting)
            world.uplink.answer(*waiting)
        assert world.uplink.bodies == bodies(*(f"m{number:04}" for number in range(5000)))
        assert await world.states() == {State.RESPONSE_SENT: 5000}


async def test_new_messages_do_not_overtake_the_backlog(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(*(message(f"m{number}") for number in range(600)))
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("new"))
        await world.sent(601)
        assert world.uplink.bodies == bodies(*(f"m{number}" for number in range(600)), "new")


@pytest.mark.parametrize("stage", ["waiting", "in flight"])
async def test_a_resend_is_not_sent_twice_and_the_newest_connection_gets_the_answer(tmp_path: Path, stage: str) -> None:
    async with QueueWorld(tmp_path) as world:
        if stage == "in flight":
            world.uplink.connect()
        await world.accept(message("a"))
        if stage == "in flight":
            await world.committer.flush_changes()
        await world.accept(message("a", link="c2"))
        assert len(world.channel.acknowledged) == 2
        if stage != "in flight":
            world.uplink.connect()
            await world.sent(1)
        world.uplink.answer(*world.uplink.transmitted)
        assert len(world.uplink.transmitted) == 1
        [(given, _)] = world.channel.answers
        assert given.link == "c2"
        assert world.statistics.channels["adt"].duplicates == 1


def copy_over(link: str) -> InboundMessage:
    """A copy of message `a`, from a channel on which `c2` is open and younger than all others."""
    copy = message("a", link=link)
    copy.rules = AcceptanceRules(keeps_answer=lambda first, second: first == "c2")
    return copy


@pytest.mark.parametrize("stage", ["waiting", "in flight", "on disk"])
async def test_a_resend_that_is_read_late_does_not_take_the_answer(tmp_path: Path, stage: str) -> None:
    async with QueueWorld(tmp_path) as world:
        if stage == "in flight":
            world.uplink.connect()
        await world.accept(copy_over("c2"))
        await world.accept(copy_over("c1"))
        assert [given.link for given in world.channel.acknowledged] == ["c2", "c1"]
        if stage != "in flight":
            world.uplink.connect()
        await world.sent(1)
        if stage == "on disk":
            # it is read back
            world.uplink.disconnect()
            world.uplink.connect()
            await world.sent(2)
        world.uplink.answer(world.uplink.transmitted[-1])
        assert [given.link for given, _ in world.channel.answers] == ["c2"]
        await world.accept(copy_over("c1"))
        assert [given.link for given, _ in world.channel.answers] == ["c2", "c1"], "what is answered is answered everywhere"


async def test_a_resend_after_a_restart_joins_what_is_on_disk(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(message("a"))
    async with QueueWorld(tmp_path) as world:
        await world.accept(message("a", link="c2"))
        world.uplink.connect()
        await world.sent(1)
        world.uplink.answer(*world.uplink.transmitted)
        [(given, _)] = world.channel.answers
        assert given.link == "c2"
        assert await world.states() == {State.RESPONSE_SENT: 1}


@pytest.mark.parametrize("written", [True, False], ids=["row written", "row pending"])
async def test_a_resend_of_an_answered_message_gets_the_stored_answer_at_once(tmp_path: Path, written: bool) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        world.channel.delivery = Delivery.GONE
        world.uplink.answer(*world.uplink.transmitted)
        if written:
            await world.committer.flush_changes()
        world.channel.delivery = Delivery.SENT
        await world.accept(message("a", link="c2"), message("a", link="c3"))
        assert [(given.link, answer.accepted, answer.body) for given, answer in world.channel.answers[1:]] == [
            ("c2", True, "ACK of body of a"),
            ("c3", True, "ACK of body of a"),
        ]
        assert len(world.uplink.transmitted) == 1
        assert await world.states() == {State.RESPONSE_SENT: 1}, "now the device has been told"


async def test_an_answer_that_comes_while_the_resend_is_committed(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, change_delay=3600) as world:
        world.uplink.connect()
        await world.accept(message("a"))
        await world.committer.flush_changes()
        world.store.gate.clear()
        asked = len(world.store.commits)
        world.intake.accept("adt", [message("a", link="c2"), message("a", link="c3")])
        while len(world.store.commits) == asked:
            await asyncio.sleep(0)
        world.channel.delivery = Delivery.GONE
        world.uplink.answer(*world.uplink.transmitted)
        world.channel.delivery = Delivery.SENT
        world.store.gate.set()
        await world.strategy.flush()
        assert [(given.link, answer.body) for given, answer in world.channel.answers[1:]] == [
            ("c2", "ACK of body of a"),
            ("c3", "ACK of body of a"),
        ]
        assert await world.states() == {State.RESPONSE_SENT: 1}
        await world.accept(message("a", link="c4"))
        assert world.channel.answers[-1][1].body == "ACK of body of a", "it is on disk"


async def test_answers_that_nobody_waits_for_are_counted_and_harm_nothing(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("b"))
        one, two = world.uplink.transmitted
        world.uplink.answer(one, one)
        world.uplink.answer(one, status_code=400)
        world.uplink.disconnect()
        world.uplink.answer(two)  # it was sent before the connection was lost
        assert world.dispatcher.unmatched == 3
        assert len(world.channel.answers) == 1
        assert await world.states() == {State.RESPONSE_SENT: 1, State.RECEIVED: 1}
