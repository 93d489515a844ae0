"""One life of a simulated agent: the real `Pipeline` with its strategy, uplink and channels, from its start to its death."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from medagent import hookimpl
from medagent.channel import ChannelContext, ChannelFactory
from medagent.config.bootstrap import Bootstrap
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.testing.simulation.channel import SimulatedChannel
from medagent.testing.simulation.disk import Disk
from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.store import FaultyStore
from medagent.testing.simulation.uplink import SimulatedUplink, Tokens
from medagent.testing.simulation.world import World
from medagent.types import InboundMessage, State
from medagent.uplink.base import UplinkContext

MakeStrategy = Callable[[StrategyContext], QueueStrategy]


class SimulatedAgent:
    """Also the plugin that gives the pipeline its parts."""

    def __init__(self, world: World, number: int, disk: Disk, strategy: MakeStrategy | None) -> None:
        self.world = world
        self.process = Process(f"p{number}")
        self._strategy = strategy
        self._store = FaultyStore(world, self.process, disk)
        self._tokens = Tokens(world)
        self.channels: dict[str, SimulatedChannel] = {}
        self.uplink: SimulatedUplink | None = None
        self.pipeline: Pipeline | None = None

    async def start(self) -> None:
        """Everything that `medagent run` does once it has its configuration."""
        plugins = Plugins(entry_points=False)
        plugins.register(self, "simulation")
        last_seq = await self._store.open()
        self.pipeline = Pipeline(
            Bootstrap(base_url="http://sim/"),
            self.world.plan.config,
            plugins=plugins,
            store=self._store,
            last_seq=last_seq,
            registers=await self._store.registers(),
            tokens=self._tokens,
            requested=lambda request: None,
            clock=self.world.clock,
        )
        await self.pipeline.start()

    async def stop(self) -> None:
        """An orderly end."""
        if self.pipeline is not None:
            await self.pipeline.stop()
        await self._store.close()

    def died(self) -> None:
        """What the world sees of its death."""
        self.process.die()
        for channel in self.channels.values():
            channel.died()
        if self.uplink is not None and self.uplink.connection is not None:
            self.uplink.connection.cut()

    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("sim", self._make_channel)

    def _make_channel(self, context: ChannelContext) -> SimulatedChannel:
        channel = self.channels[context.config.name] = SimulatedChannel(self.world, self.process, context)
        return channel

    @hookimpl(tryfirst=True)
    def medagent_make_queue_strategy(self, context: StrategyContext) -> QueueStrategy | None:
        return self._strategy(context) if self._strategy is not None else None

    @hookimpl(tryfirst=True)
    def medagent_make_uplink(self, context: UplinkContext) -> SimulatedUplink:
        self.uplink = SimulatedUplink(self.world, self.process, self._tokens, context)
        return self.uplink

    @hookimpl
    def medagent_messages_settled(self, settled: Sequence[tuple[InboundMessage, State]]) -> None:
        if self.process.alive:
            self.world.journal.note("settled", *(f"{message.seq}:{state.name}" for message, state in settled))
            self.world.ledger.settled(settled)


class LogWatch(logging.Handler):
    """Puts what the agent logs into the journal, and takes an unexpected error of its tasks for what it is: a fault."""

    EXPECTED = ("OperationalError", "QueueError", "BindFailed", "PluginFault", "TimeoutError")

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._world.journal.note("log", text)
        failed = " failed" in text or "could not be handled" in text or "cannot be made" in text
        if failed and not text.endswith(self.EXPECTED) and not any(f"{name} (" in text for name in self.EXPECTED):
            self._world.journal.violate("I10", f"the agent has a fault of its own: {text}")


async def end_within(seconds: float, agent: SimulatedAgent) -> bool:
    """Stop an agent in order; False if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await agent.stop()
    except TimeoutError:
        return False
    return True
