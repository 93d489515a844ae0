"""Acceptance: keys, limits, and the order of acknowledgments."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from medagent.config.model import BatchConfig
from medagent.queue import intake as intake_module
from medagent.queue.immediate import ImmediateStrategy
from medagent.queue.oversize import encoded_size
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage, RefusalKind, State


async def test_every_message_gets_a_key_of_its_own_that_it_keeps(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(*(message(f"m{number}") for number in range(50)))
        first = {one.seq: one.callback for one in world.channel.acknowledged}
    assert list(first) == list(range(1, 51))
    assert len(set(first.values())) == 50
    # medagent's server takes any text; a UUID after the reference looks like Medplum's own
    assert all(
        re.fullmatch(r"Agent/a-1-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", key) for key in first.values()
    )
    async with QueueWorld(tmp_path) as world:
        again = await world.store.fetch("adt", 0, 100, 100_000)
        assert {one.seq: one.callback for one in again} == first
        await world.accept(message("new"))
        [new] = world.channel.acknowledged
        assert new.seq == 51
        assert new.callback not in first.values()
        assert new.callback.rpartition("-")[0] != first[1].rpartition("-")[0], "a run has keys of its own"


@pytest.mark.parametrize("character", ["x", "\x00", "é", '"'])
async def test_what_fits_no_frame_is_refused_for_good_to_the_byte(
    tmp_path: Path, character: str, caplog: pytest.LogCaptureFixture
) -> None:
    each = len(msgspec.json.encode(character)) - 2
    fits = 600 // each
    async with QueueWorld(tmp_path, max_body_bytes=600) as world:
        await world.accept(message("small"), message("fits", character * fits), message("large", character * (fits + 1)))
        assert [one.control_id for one in world.channel.acknowledged] == ["small", "fits"]
        [(one, refusal)] = world.channel.refusals
        assert one.control_id == "large"
        assert refusal.kind is RefusalKind.UNACCEPTABLE
        assert str(each * (fits + 1)) in refusal.reason
        assert refusal.reason.startswith("The message is "), "for the device: it knows no parameters"
        assert "maxFrameBytes" not in refusal.reason
        assert "(maxFrameBytes)" in caplog.text
        assert world.intake.refused == 1


def test_encoded_size_is_that_of_the_json_text() -> None:
    for text in ("", "a", "\r\n\t", "\x00\x1f", 'a"b\\c', "é€\U0001f600"):
        assert encoded_size(text) == len(msgspec.json.encode(text)) - 2


async def test_a_message_that_a_channel_cannot_forward_is_refused_alone(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_body_bytes=600) as world:
        world.channel.poison = {b"x" * 500}
        await world.accept(message("a"), message("bad", "x" * 500), message("b", "y" * 500))
        assert [one.control_id for one in world.channel.acknowledged] == ["a", "b"]
        [(one, refusal)] = world.channel.refusals
        assert (one.control_id, refusal.kind) == ("bad", RefusalKind.UNACCEPTABLE)
        assert "RuntimeError" in refusal.reason


async def test_not_accepting_it_refuses_for_now(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.intake.accepting = False
        await world.accept(message("a"))
        [(one, refusal)] = world.channel.refusals
        assert (one.control_id, refusal.kind) == ("a", RefusalKind.STORAGE)
        assert await world.states() == {}


@pytest.mark.parametrize("limit", ["HIGH_WATER_MESSAGES", "HIGH_WATER_BYTES"])
async def test_channels_pause_at_the_high_water_mark_and_resume_at_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    body = "x" * 10
    monkeypatch.setattr(intake_module, limit, 8 if limit == "HIGH_WATER_MESSAGES" else 80)
    async with QueueWorld(tmp_path, channels=("adt", "oru")) as world:
        adt, oru = world.channels.values()
        world.store.gate.clear()
        world.intake.accept("adt", [message(f"m{number}", body) for number in range(8)])
        assert adt.paused == []
        world.intake.accept("oru", [message("last straw", body)])
        world.intake.accept("adt", [message("on its way", body)])
        assert adt.paused == oru.paused == [True]
        assert world.intake.buffered == 10
        assert world.intake.buffered_bytes == 100
        world.store.gate.set()
        await world.strategy.flush()
        assert adt.paused == oru.paused == [True, False]
        assert world.intake.buffered == world.intake.buffered_bytes == 0


@pytest.mark.parametrize("limit", ["HIGH_WATER_MESSAGES", "HIGH_WATER_BYTES"])
async def test_they_resume_no_sooner_than_at_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(intake_module, limit, 8 if limit == "HIGH_WATER_MESSAGES" else 80)
    left: list[int] = []
    async with QueueWorld(tmp_path, strategy=ImmediateStrategy) as world:
        monkeypatch.setattr(world.channel, "resume_reading", lambda: left.append(world.intake.buffered))
        await world.accept(*(message(f"m{number}", "x" * 10) for number in range(10)))
        assert left == [4]


async def test_parts_are_accepted_together_and_wait_no_shorter_than_others(tmp_path: Path) -> None:
    batch = BatchConfig(max_batch_size=100, flush_interval_ms=60_000, adaptive=False)
    whole = message("whole")
    whole.parts = (message("a"), message("b"))
    async with QueueWorld(tmp_path, batch=batch) as world:
        world.intake.accept("adt", [whole])
        await asyncio.sleep(0.005)
        assert world.store.commits == [], "its interval is not over"
        world.store.refuse = lambda messages, changes: any(one.control_id == "b" for one in messages)
        await world.strategy.flush()
        assert [one.control_id for one, _ in world.channel.refusals] == ["a", "b"]
        assert world.intake.buffered == world.intake.buffered_bytes == 0
        world.store.refuse = lambda messages, changes: False
        whole.parts = (message("a"), message("b"))
        await world.accept(whole)
        assert [one.control_id for one in world.channel.acknowledged] == ["a", "b"]
        assert await world.states() == {State.RECEIVED: 2}


async def test_refused_messages_make_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "HIGH_WATER_MESSAGES", 2)
    async with QueueWorld(tmp_path) as world:
        world.store.refuse = lambda messages, changes: True
        await world.accept(*(message(name) for name in "abc"))
        assert world.channel.paused == [True, False]
        assert world.intake.buffered == 0


async def test_acknowledgments_go_out_in_order_resends_included(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(message("a"), message("b"))
        world.intake.accept("adt", [message("c"), message("a", link="c2"), message("d"), message("b", link="c2")])
        await world.strategy.flush()
        assert [(one.control_id, one.link) for one in world.channel.acknowledged[2:]] == [
            ("c", "c1"),
            ("a", "c2"),
            ("d", "c1"),
            ("b", "c2"),
        ]
        assert await world.states() == {State.RECEIVED: 4}


async def test_one_commit_of_two_channels_acknowledges_each_its_own(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, channels=("adt", "oru")) as world:
        world.intake.accept("adt", [message("a")])
        world.intake.accept("oru", [message("a")])
        await world.strategy.flush()
        for name, channel in world.channels.items():
            assert [(one.channel, one.control_id) for one in channel.acknowledged] == [(name, "a")]


async def test_a_channel_that_fails_does_not_keep_another_from_its_acknowledgment(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, channels=("adt", "oru")) as world:
        world.channels["adt"].failing = {"committed", "forward"}
        world.uplink.connect()
        world.intake.accept("adt", [message("a")])
        world.intake.accept("oru", [message("b")])
        await world.strategy.flush()
        assert [one.control_id for one in world.channels["oru"].acknowledged] == ["b"]
        await world.sent(1)
        assert world.uplink.bodies == ["body of b"]


async def test_a_batch_with_one_message_too_long_says_so_of_that_one_only(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_body_bytes=600) as world:
        whole = InboundMessage(None, "", "", parts=(message("a"), message("large", "x" * 700), message("c")))
        await world.accept(whole, message("d"))
        reasons = {one.control_id: refusal.reason for one, refusal in world.channel.refusals}
        assert "700 bytes" in reasons.pop("large")
        assert reasons.keys() == {"a", "c"}
        assert all("The batch is refused as a whole" in reason for reason in reasons.values())
        assert [one.control_id for one in world.channel.acknowledged] == ["d"]


async def test_not_accepting_it_refuses_each_part(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.intake.accepting = False
        await world.accept(InboundMessage(None, "", "", parts=(message("a"), message("b"))))
        assert [one.control_id for one, _ in world.channel.refusals] == ["a", "b"]
