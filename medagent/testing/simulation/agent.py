"""One life of a simulated agent: the real `Pipeline` with its strategy, uplink and channels, from its start to its death."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from medagent import hookimpl
from medagent.channel import ChannelContext, ChannelFactory
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.reload.apply import Reload
from medagent.reload.plan import make_plan
from medagent.testing.simulation.channel import Ports, SimulatedChannel
from medagent.testing.simulation.disk import Disk
from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.message import read_body
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
        self._ports = Ports()
        self.channels: list[SimulatedChannel] = []
        """All that are not closed, oldest first."""
        self.uplink: SimulatedUplink | None = None
        self.pipeline: Pipeline | None = None
        self.started = False
        self._reloading: asyncio.Task[None] | None = None

    async def start(self, config: AgentConfig) -> None:
        """Everything that `medagent run` does once it has its configuration."""
        plugins = Plugins(entry_points=False, clock=self.world.clock)
        plugins.register(self, "simulation")
        last_seq = await self._store.open()
        self.pipeline = Pipeline(
            Bootstrap(base_url="http://sim/"),
            config,
            plugins=plugins,
            store=self._store,
            last_seq=last_seq,
            registers=await self._store.registers(),
            tokens=self._tokens,
            requested=lambda request: None,
            clock=self.world.clock,
        )
        await self.pipeline.start()
        self.started = True

    @property
    def reloading(self) -> bool:
        return self._reloading is not None and not self._reloading.done()

    def reload(self, config: AgentConfig) -> None:
        """Work by another configuration soon. Only for an agent that has started, and is not reloading."""
        if self.pipeline is not None:
            reload = self._reload(self.pipeline, config)
            self._reloading = self.world.loop.create_task(reload, context=self.process.context)

    async def _reload(self, pipeline: Pipeline, config: AgentConfig) -> None:
        journal = self.world.journal
        plan = make_plan(pipeline.config, config)
        journal.note("reload", plan)
        try:
            problems = await Reload(pipeline, config, plan).apply() if plan else []
        # nothing that it raises is expected
        except Exception as error:  # noqa: BLE001  as said above
            journal.violate("I10", f"a reload fails: {type(error).__name__} {error}")
            return
        journal.note("reloaded" if not problems else "not reloaded", *problems)
        slow = all("does not commit" in problem for problem in problems) and self.world.faults.slow_disk
        if problems and not self.world.faults.bind_fails and not slow:
            journal.violate("liveness", f"a reload is refused: {problems}")
        if (cut_short := sum(channel.cut_short for channel in self.channels)) and not slow:
            journal.violate("I4", f"{cut_short} message(s) were read and not acknowledged when their channel was closed")
        self.channels = [channel for channel in self.channels if not channel.closed]

    def find_channel(self, name: str) -> SimulatedChannel | None:
        """The channel of this name that listens; the newest one, while a reload moves it."""
        return next((channel for channel in reversed(self.channels) if channel.name == name and channel.listening), None)

    async def stop(self) -> None:
        """An orderly end."""
        if self._reloading is not None and self.reloading:
            self._reloading.cancel()
            await asyncio.wait([self._reloading])
        if self.pipeline is not None:
            await self.pipeline.stop()
        await self._store.close()

    def died(self) -> None:
        """What the world sees of its death."""
        self.process.die()
        for channel in self.channels:
            channel.died()
        if self.uplink is not None and self.uplink.connection is not None:
            self.uplink.connection.cut()

    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("sim", self._make_channel)

    def _make_channel(self, context: ChannelContext) -> SimulatedChannel:
        channel = SimulatedChannel(self.world, self.process, context, self._ports)
        self.channels.append(channel)
        return channel

    @hookimpl(tryfirst=True)
    def medagent_make_queue_strategy(self, context: StrategyContext) -> QueueStrategy | None:
        return self._strategy(context) if self._strategy is not None else None

    @hookimpl(tryfirst=True)
    def medagent_make_uplink(self, context: UplinkContext) -> SimulatedUplink:
        self.uplink = SimulatedUplink(self.world, self.process, self._tokens, context)
        return self.uplink

    @hookimpl
    def medagent_make_transform(self, channel: ChannelConfig) -> Callable[[str], str | None]:
        def transform(text: str) -> str | None:
            if not (self.process.alive and self.world.chance(self.world.faults.filtered)):
                return text
            self.world.ledger.filtered(channel.name, read_body(text))
            return None

        return transform

    @hookimpl
    def medagent_messages_settled(self, settled: Sequence[tuple[InboundMessage, State]]) -> None:
        if self.process.alive:
            self.world.journal.note("settled", *(f"{message.seq}:{state.name}" for message, state in settled))
            self.world.ledger.settled(settled)


OF_STRATEGY = "of queue strategy"
"""What is logged of a strategy that somebody puts through the simulation: its faults are not the agent's."""


class LogWatch(logging.Handler):
    """Puts what the agent logs into the journal, and takes an unexpected error of its tasks for what it is: a fault."""

    EXPECTED = ("OperationalError", "QueueError", "BindFailed", "PluginFault", "PluginTimeout")

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self._world.journal.note("log", text)
        failed = " failed" in text or "could not be handled" in text or "cannot be made" in text
        expected = OF_STRATEGY in text or text.endswith(self.EXPECTED) or any(f"{name} (" in text for name in self.EXPECTED)
        if failed and not expected:
            self._world.journal.violate("I10", f"the agent has a fault of its own: {text}")


async def end_within(seconds: float, agent: SimulatedAgent) -> bool:
    """Stop an agent in order; False if that takes too long."""
    try:
        async with asyncio.timeout(seconds):
            await agent.stop()
    except TimeoutError:
        return False
    return True
