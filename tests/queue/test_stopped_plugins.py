"""A plugin that fails for message after message: none is sent past it, and their attempts are not used up."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.model import RetryConfig
from medagent.guard import Guard
from medagent.guard.breaker import FAULTS_IN_A_ROW, FIRST_COOL_DOWN
from medagent.supervisor import HostedChannel
from medagent.testing.doubles import Clock
from medagent.testing.queue import QueueWorld, message
from medagent.transform import Transform
from medagent.types import State


class Censor:
    """A transform that fails until it is mended."""

    def __init__(self, clock: Clock) -> None:
        self.works = False
        self.calls = 0
        self.guarded = Transform(Guard("lab", "transform of channel adt", clock=clock), lambda: None, self.change)

    def change(self, text: str) -> str:
        self.calls += 1
        if not self.works:
            raise ValueError(text)
        return text.upper()


async def test_an_open_breaker_holds_its_channel_and_no_other(tmp_path: Path) -> None:
    retry = RetryConfig(base_delay_ms=600_000)
    async with QueueWorld(tmp_path, channels=("adt", "lab"), retry=retry) as world:
        censor = Censor(world.clock)
        world.dispatcher.use_transforms({"adt": [censor.guarded]})
        world.uplink.connect()
        await world.accept(*(message(f"a{number}") for number in range(20)), channel="adt")
        await world.accept(message("l1"), channel="lab")
        assert censor.calls == FAULTS_IN_A_ROW, "the others wait"
        assert world.uplink.bodies == ["body of l1"]
        assert await world.states("adt") == {State.ERROR: FAULTS_IN_A_ROW, State.RECEIVED: 20 - FAULTS_IN_A_ROW}
        world.clock.now += FIRST_COOL_DOWN
        world.dispatcher.tick()
        await world.quiet()
        assert censor.calls == FAULTS_IN_A_ROW + 1, "one tries whether it works again"
        censor.works = True
        world.clock.now += 2 * FIRST_COOL_DOWN
        world.dispatcher.tick()
        await world.quiet()
        assert world.uplink.bodies[1:] == [f"BODY OF A{number}" for number in range(FAULTS_IN_A_ROW + 1, 20)], "in order"
        world.uplink.answer(*world.uplink.transmitted)
        world.clock.now += 600
        world.dispatcher.tick()
        await world.quiet()
        assert len(world.uplink.bodies) == 1 + 20


async def test_a_new_configuration_tries_at_once(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        censor = Censor(world.clock)
        world.dispatcher.use_transforms({"adt": [censor.guarded]})
        world.uplink.connect()
        await world.accept(*(message(f"a{number}") for number in range(6)))
        world.dispatcher.use_transforms({"adt": []})
        world.dispatcher.reconfigure(world.config, {"adt": None})
        assert world.uplink.bodies == ["body of a5"]


async def test_while_the_guilty_one_is_searched_a_held_channel_is_passed_over(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, channels=("adt", "lab")) as world:
        censor = Censor(world.clock)
        censor.works = True
        world.dispatcher.use_transforms({"adt": [censor.guarded]})
        world.uplink.connect()
        await world.accept(*(message(f"a{number}") for number in range(9)), channel="adt")
        await world.accept(message("l1"), channel="lab")
        censor.works = False
        world.dispatcher.failed("something is wrong")
        for _ in range(30):
            world.clock.now += 1.1
            world.dispatcher.tick()
            await world.quiet()
            if world.uplink.bodies[-1] == "body of l1" and len(world.uplink.bodies) > 10:
                break
        assert world.uplink.bodies[10:] == ["body of l1"]


async def test_a_channel_that_cannot_forward_for_a_while_takes_long_messages_too(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path, max_body_bytes=60) as world:
        long = "b" * 30  # so long that its text is measured
        outlet = Guard("lab", "forward of channel adt", clock=world.clock)
        world.hosted["adt"] = HostedChannel(world.hosted["adt"].config, world.channel, outlet=outlet)
        world.channel.failing = {"forward"}
        for _ in range(FAULTS_IN_A_ROW):
            with pytest.raises(RuntimeError):
                world.hosted["adt"].forward(message("a"))
        await world.accept(message("b", long))
        assert [one.control_id for one in world.channel.acknowledged] == ["b"]
        world.channel.failing = set()
        world.clock.now += FIRST_COOL_DOWN
        world.uplink.connect()
        await world.sent(1)
        assert world.uplink.bodies == [long]
