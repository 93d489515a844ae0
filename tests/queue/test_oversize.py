"""Messages that are too long for the server end, with the reason, and hold nobody up."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from medagent.queue.oversize import encoded_size, size_above
from medagent.testing.queue import QueueWorld, message
from medagent.types import State
from medagent.uplink.base import TOO_BIG

LIMIT = 1_048_576
"""The default of `maxFrameBytes`."""
LARGE = "x" * (LIMIT + 1)
ROOM = 8 * LIMIT


@pytest.mark.parametrize("text", ["", "a" * 100, '\r"' * 50, "\0" * 100, "ä漢😀"])
def test_the_size_is_told_only_above_the_limit(text: str) -> None:
    size = encoded_size(text)
    assert size_above(text, size) == 0
    assert size_above(text, size - 1) == size


def test_a_lone_surrogate_is_counted_as_it_is_sent() -> None:
    assert size_above("\ud800" * 10, 9) == 10


async def test_what_was_accepted_under_a_larger_limit_is_not_sent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with QueueWorld(tmp_path, max_body_bytes=ROOM) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("large", LARGE), message("b"))
        assert world.uplink.bodies == ["body of a", "body of b"]
        assert world.settled == [("large", State.DEAD_LETTER)]
        [(_, answer)] = world.channel.answers
        assert not answer.accepted
        world.uplink.answer(*world.uplink.transmitted)
        assert await world.states() == {State.RESPONSE_SENT: 2, State.DEAD_LETTER: 1}
    [told] = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert f"maxFrameBytes is {LIMIT}" in told


async def test_the_one_that_the_server_closes_over_is_given_up(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_body_bytes=ROOM, max_frame_bytes=ROOM) as world:
        world.uplink.connect()
        await world.accept(message("a"), message("large", LARGE), message("b"))
        closes = served = 0
        while len(world.settled) < 3:
            waiting = world.uplink.transmitted[served:]
            served += len(waiting)
            if any(sent.body == LARGE for sent in waiting):
                closes += 1
                world.dispatcher.failed(TOO_BIG)
                world.uplink.disconnect()
                world.uplink.connect()
            else:
                world.uplink.answer(*waiting)
            await world.quiet()
        assert dict(world.settled)["large"] is State.DEAD_LETTER
        assert await world.states() == {State.RESPONSE_SENT: 2, State.DEAD_LETTER: 1}
        assert closes <= 3


async def test_connections_lost_without_that_reason_end_nothing(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_body_bytes=ROOM, max_frame_bytes=ROOM) as world:
        world.uplink.connect()
        await world.accept(message("m", LARGE))
        for _ in range(10):
            world.uplink.disconnect()
            world.uplink.connect()
            world.clock.now += 100.0
            world.dispatcher.tick()
            await world.quiet()
        assert world.settled == []
        assert len(world.uplink.transmitted) > 5, "it is tried again"
