"""A channel that the server does not know waits as a whole, in order, and the others go on."""

from __future__ import annotations

from pathlib import Path

from medagent.config.model import RetryConfig
from medagent.testing.queue import QueueWorld, message
from medagent.types import State

NOT_FOUND = "Channel not found"


async def refuse(world: QueueWorld, channel: str) -> None:
    """The server says so of each message of this channel, and answers the others, until nothing more is sent."""
    served = 0
    while served < len(world.uplink.transmitted):
        waiting = world.uplink.transmitted[served:]
        served += len(waiting)
        for sent in waiting:
            if sent.channel == channel:
                world.dispatcher.failed(NOT_FOUND)
            else:
                world.uplink.answer(sent)
        world.clock.now += 1.1  # the grace in which late answers may come
        world.dispatcher.tick()
        await world.quiet()


async def test_its_messages_keep_their_order_and_the_others_arrive(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, channels=("adt", "lab"), retry=RetryConfig(base_delay_ms=60_000)) as world:
        world.uplink.connect()
        await world.accept(message("a1"), message("a2"), channel="adt")
        await world.accept(message("l1"), channel="lab")
        await refuse(world, "adt")
        assert world.dispatcher.held == ["adt"]
        assert ("l1", State.RESPONSE_SENT) in world.settled
        sent = len(world.uplink.transmitted)
        await world.accept(message("a3"), channel="adt")
        await world.accept(message("l2"), channel="lab")
        assert world.uplink.bodies[sent:] == ["body of l2"]
        world.uplink.answer(world.uplink.transmitted[-1])
        world.clock.now += 60.0
        world.dispatcher.tick()
        await world.quiet()
        assert world.uplink.bodies[sent + 1 :] == ["body of a1"], "one tries first"
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.quiet()
        assert world.uplink.bodies[sent + 1 :] == ["body of a1", "body of a2", "body of a3"]
        assert world.dispatcher.held == []


async def test_it_is_tried_at_once_when_the_configuration_is_new(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(base_delay_ms=60_000)) as world:
        world.uplink.connect()
        await world.accept(message("a1"))
        await refuse(world, "adt")
        sent = len(world.uplink.transmitted)
        world.dispatcher.reconfigure(world.config, {"adt": None})
        world.dispatcher.tick()
        await world.quiet()
        assert world.uplink.bodies[sent:] == ["body of a1"]


async def test_what_has_a_number_of_attempts_ends_with_them(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, retry=RetryConfig(max_attempts=1)) as world:
        world.uplink.connect()
        await world.accept(message("a1"))
        await refuse(world, "adt")
        assert world.settled == [("a1", State.DEAD_LETTER)]


async def test_who_is_meant_is_asked_of_the_server_and_nobody_else_is_disturbed(tmp_path: Path) -> None:
    async def names() -> set[str]:
        return {"lab"}

    async with QueueWorld(tmp_path, channels=("adt", "lab"), channel_names=names) as world:
        world.uplink.connect()
        await world.accept(message("l1"), message("l2"), channel="lab")
        await world.accept(message("a1"), message("a2"), channel="adt")
        world.dispatcher.failed(NOT_FOUND)
        world.dispatcher.failed(NOT_FOUND)
        await world.quiet()
        assert world.dispatcher.held == ["adt"]
        assert world.dispatcher.in_flight == 2, "the slow answers of the others are still waited for"
        await world.accept(message("l3"), channel="lab")
        assert world.uplink.bodies[-1] == "body of l3"
        sent = len(world.uplink.transmitted)
        world.clock.now += 2.0
        world.dispatcher.tick()
        await world.quiet()
        assert world.uplink.bodies[sent:] == ["body of a1"], "one message tries whether it is there again"
        world.uplink.answer(world.uplink.transmitted[-1])
        await world.quiet()
        assert world.uplink.bodies[sent:] == ["body of a1", "body of a2"]
