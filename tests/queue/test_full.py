"""The limits of the queue at work: with real store, committer, intake and dispatcher."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.model import BacklogConfig
from medagent.queue import intake as intake_module
from medagent.testing.queue import QueueWorld, message
from medagent.types import Delivery, InboundMessage, RefusalKind, State

ANY = BacklogConfig(max_messages=1_000_000)
"""A limit, so that it counts, and none that is met."""


async def agrees(world: QueueWorld) -> tuple[int, int]:
    """Live messages and their bytes, by the backlog; the queue's file must say the same."""
    live = world.backlog.messages, world.backlog.bytes
    depth = (await world.committer.depths()).get("adt")
    assert live == ((depth.live, depth.live_bytes) if depth else (0, 0))
    await world.committer.flush_changes()
    depth = (await world.store.depths()).get("adt")
    assert live == ((depth.live, depth.live_bytes) if depth else (0, 0))
    return live


async def test_the_count_is_that_of_the_file_whatever_becomes_of_messages(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, change_delay=60, backlog=ANY) as world:
        await world.accept(*(message(name, "x" * 100) for name in "abcdef"))
        assert await agrees(world) == (6, 600)
        await world.accept(message("a", "x" * 100), message("b", "y" * 50))
        assert await agrees(world) == (7, 650), "a resend is no more, other bytes are"
        world.store.refuse = lambda messages, changes: bool(messages)
        await world.accept(message("g"), message("h"))
        world.store.refuse = lambda messages, changes: False
        assert await agrees(world) == (7, 650)
        twice = message("twice", "z" * 10)
        await world.accept(twice)
        await world.committer.commit([twice])  # as a wrong strategy does
        assert await agrees(world) == (8, 660)
        world.uplink.connect()
        await world.sent(8)
        world.uplink.answer(world.uplink.transmitted[-1])
        world.uplink.transmitted.clear()
        world.uplink.disconnect()
        assert await agrees(world) == (7, 650)
        note = InboundMessage(None, "", "", registers=(("expected", 1),))
        await world.accept(note)
        assert await agrees(world) == (7, 650)

        world.uplink.connect()
        await world.sent(7)
        assert await agrees(world) == (7, 650)
        a, b, c, d, *_ = world.uplink.transmitted
        world.uplink.answer(a)
        assert await agrees(world) == (6, 550)
        world.uplink.answer(a)  # a second time
        world.uplink.answer(b, status_code=500)
        assert await agrees(world) == (6, 550)
        world.uplink.answer(c, status_code=400)
        assert await agrees(world) == (5, 450)
        await world.accept(message("a", "x" * 100))  # a resend of what has ended
        assert await agrees(world) == (5, 450)
        world.channel.delivery = Delivery.QUEUED
        world.uplink.answer(d)
        assert await agrees(world) == (5, 450)
        [*_, (queued, _)] = world.channel.answers
        for outcome in (Delivery.SENT, Delivery.GONE):  # a channel that says it twice
            world.settlement.delivered([(queued, outcome)])
            assert world.backlog.messages == 4
        world.uplink.disconnect()
    async with QueueWorld(tmp_path, backlog=ANY) as world:
        assert await agrees(world) == (4, 350)


async def test_refusing_takes_what_fits_of_a_read_and_no_more(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, backlog=BacklogConfig(max_messages=5)) as world:
        await world.accept(*(message(f"m{number}") for number in range(8)))
        assert [one.control_id for one in world.channel.acknowledged] == [f"m{number}" for number in range(5)]
        assert [one.control_id for one, _ in world.channel.refusals] == ["m5", "m6", "m7"]
        assert {refusal.kind for _, refusal in world.channel.refusals} == {RefusalKind.STORAGE}
        assert "full" in world.channel.refusals[0][1].reason
        assert world.channel.paused == []
        assert (world.intake.refused, world.backlog.refused, world.intake.buffered) == (3, 3, 0)
        world.uplink.connect()
        await world.sent(5)
        world.uplink.answer(world.uplink.transmitted[0])
        await world.accept(message("m5"))
        assert world.channel.acknowledged[-1].control_id == "m5"
        assert world.backlog.messages == 5


async def test_channels_read_on_only_when_neither_buffer_nor_queue_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "HIGH_WATER_MESSAGES", 4)
    async with QueueWorld(tmp_path, backlog=BacklogConfig(max_messages=10, full_behavior="pause")) as world:
        world.store.gate.clear()
        world.intake.accept("adt", [message(f"m{number}") for number in range(12)])
        assert world.channel.paused == [True]
        world.store.gate.set()
        await world.strategy.flush()
        assert world.intake.buffered == 0
        assert world.channel.paused == [True], "the queue is still full"
        assert world.channel.refusals == []
        world.uplink.connect()
        await world.sent(12)
        world.uplink.answer(*world.uplink.transmitted[:3])
        assert world.channel.paused == [True]
        world.uplink.answer(world.uplink.transmitted[3])
        assert world.channel.paused == [True, False]


async def test_a_full_queue_is_full_again_after_a_restart(tmp_path: Path) -> None:
    limits = BacklogConfig(max_mb=1, full_behavior="pause")
    async with QueueWorld(tmp_path, backlog=ANY) as world:
        await world.accept(*(message(f"m{number}", "x" * 300_000) for number in range(4)))
    async with QueueWorld(tmp_path, backlog=limits) as world:
        assert world.channel.paused == [True]
        assert "queueMaxMb 1" in world.backlog.reason


async def test_figures_know_what_is_not_written_yet_and_write_nothing(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, change_delay=60, backlog=ANY) as world:
        await world.accept(*(message(name) for name in "abc"))
        world.uplink.connect()
        await world.sent(3)
        world.uplink.answer(world.uplink.transmitted[0])
        commits = len(world.store.commits)
        depth = (await world.committer.depths())["adt"]
        assert {state: count for state, count in depth.counts.items() if count} == {State.SENT: 2, State.RESPONSE_SENT: 1}
        assert depth.oldest_accepted_at == world.clock.time()
        world.uplink.answer(*world.uplink.transmitted[1:])
        depth = (await world.committer.depths())["adt"]
        assert (depth.live, depth.live_bytes, depth.oldest_accepted_at) == (0, 0, None)
        assert len(world.store.commits) == commits
