"""Simulated devices: they send, wait, send again what was not acknowledged, connect again, are slow, or vanish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from medagent.testing.simulation.channel import SimulatedChannel
from medagent.testing.simulation.connection import DeviceConnection, Reply
from medagent.testing.simulation.message import make_body
from medagent.testing.simulation.plan import DevicePlan
from medagent.testing.simulation.world import World

FINAL = {"original": {"AA", "AR"}, "enhanced": {"CA", "CR"}, "aa": {"AA", "AR"}}
"""Codes after which a device sends a message no more."""
OFTEN = 0.2
"""How often a device rests, of its rounds."""
MOST_REFUSALS = 8
"""So often it takes AE in original mode for "not now": it cannot tell that from the server's refusal."""


class Device:
    """One device, and what it knows of its messages."""

    def __init__(
        self, world: World, plan: DevicePlan, mode: str, find_channel: Callable[[str], SimulatedChannel | None]
    ) -> None:
        self.plan = plan
        self._world = world
        self._mode = mode
        self._find_channel = find_channel
        self._connection: DeviceConnection | None = None
        self._changed = asyncio.Event()
        self._waiting: dict[str, bytes] = {}
        """By control ID: what was not acknowledged yet."""
        self._refusals: dict[str, int] = {}
        self._next = 0
        self.finished = False
        """It has sent everything and has every acknowledgment, or has vanished."""
        world.on_calm.append(self._recover)

    @property
    def waiting(self) -> list[str]:
        """Control IDs of what was not acknowledged yet."""
        return list(self._waiting)

    async def run(self) -> None:
        random = self._world.random
        while self._next < self.plan.messages:
            await asyncio.sleep(random.random() * self.plan.pause)
            if random.random() < OFTEN and self._world.loop.time() < self._world.plan.seconds:
                # so that there is something to send all the time
                await asyncio.sleep(random.random() * self._world.plan.seconds / 15)
            for _ in range(random.randint(1, self.plan.at_once)):
                # the devices of one channel use the same control IDs, for different messages
                number = self._next = self._next + 1
                self._waiting[str(number)] = make_body(str(number), f"{self.plan.name}-{number}")
            if not await self._exchange():
                break
        self.finished = True
        self._world.journal.note(self.plan.name, "has finished")

    async def _exchange(self) -> bool:
        """Send what is waiting until it is acknowledged. False if the device has vanished."""
        world, random = self._world, self._world.random
        while self._waiting:
            connection = await self._connect()
            if world.chance(world.faults.slow_device):
                connection.block()
                world.later(20 * random.random(), connection.unblock)
            for body in self._waiting.values():
                connection.send(body)
            world.journal.note(self.plan.name, "sends", *self._waiting, "over", connection.link)
            if world.chance(world.faults.vanished):
                world.journal.note(self.plan.name, "vanishes")
                self._waiting.clear()
                if world.chance(0.5):
                    connection.hang_up()
                return False
            if world.chance(world.faults.device_hangs_up):
                await asyncio.sleep(random.random())
                self._hang_up()
                continue
            await self._wait()
            if self._waiting:
                if random.random() < 0.5:
                    self._hang_up()
                await asyncio.sleep(random.random())
        return True

    async def _wait(self) -> None:
        """Until everything is acknowledged, the connection is lost, or patience is over."""
        try:
            async with asyncio.timeout(self.plan.patience):
                while self._waiting and self._connection is not None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    async def _connect(self) -> DeviceConnection:
        while self._connection is None:
            await asyncio.sleep(self._world.latency())
            channel = self._find_channel(self.plan.channel)
            if channel is not None:
                self._connection = channel.connect(self._replied, self._lost)
            if self._connection is not None:
                break
            await asyncio.sleep(0.5 + self._world.random.random())
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.hang_up()
            self._connection = None

    def _lost(self, connection: DeviceConnection) -> None:
        if self._connection is connection:
            self._connection = None
            self._changed.set()

    def _replied(self, connection: DeviceConnection, replies: list[Reply]) -> None:
        for code, control_id in replies:
            self._world.journal.note(self.plan.name, "gets", code, control_id)
            if control_id not in connection.sent:
                self._world.journal.violate("I5", f"{self.plan.name} gets {code} for {control_id}, which it has not sent there")
            if code in FINAL[self._mode]:
                self._waiting.pop(control_id, None)
            elif code == "AE" and control_id in self._waiting:
                self._refusals[control_id] = self._refusals.get(control_id, 0) + 1
                if self._refusals[control_id] > MOST_REFUSALS:
                    del self._waiting[control_id]
        self._changed.set()

    def _recover(self) -> None:
        if self._connection is not None:
            self._connection.unblock()
