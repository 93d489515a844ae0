"""The simulation: one seed from its start, through its faults, to the calm in which everything must end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from medagent.testing.simulation.agent import LogWatch, MakeStrategy, SimulatedAgent, end_within
from medagent.testing.simulation.channel import SimulatedChannel
from medagent.testing.simulation.devices import Device
from medagent.testing.simulation.disk import Disk, SqliteDisk
from medagent.testing.simulation.journal import Violation
from medagent.testing.simulation.limits import small_limits
from medagent.testing.simulation.loop import Stalled
from medagent.testing.simulation.plan import make_plan
from medagent.testing.simulation.variation import vary
from medagent.testing.simulation.world import World

CALM_SECONDS = 900.0
"""Virtual time in which everything must end once the faults have."""
STOP_SECONDS = 30.0
"""Virtual time that an orderly stop may take."""
YEAR = 365 * 86_400.0
JUMPS = (3600.0, 86_400.0, 30 * 86_400.0, 10 * YEAR)


@dataclass(frozen=True, slots=True)
class Result:
    """A seed that has passed."""

    seed: int
    seconds: float
    """Virtual time."""
    steps: int
    digest: str
    """Of the event log."""
    messages: int
    """In the queue at the end."""
    starts: int
    """Of the agent."""
    log: list[str] = field(default_factory=list)
    """The event log, if it was to be kept."""


class Simulation:
    """One seed."""

    def __init__(self, world: World, disk: Disk, strategy: MakeStrategy | None) -> None:
        self.world = world
        self._disk = disk
        self._strategy = strategy
        self.starts = 0
        self._config = world.plan.config
        """With which an agent that starts now begins."""
        self._agent: SimulatedAgent | None = None
        self._tasks: list[asyncio.Task[None]] = []
        world.crash = self._crash

    def _spawn_agent(self) -> None:
        self.starts += 1
        agent = self._agent = SimulatedAgent(self.world, self.starts, self._disk, self._strategy)
        self.world.journal.note("start", agent.process.name)
        self._tasks.append(self.world.loop.create_task(self._start(agent), context=agent.process.context))

    async def _start(self, agent: SimulatedAgent) -> None:
        await agent.start(self._config)
        self.world.journal.note("started", agent.process.name)

    def _crash(self, why: str) -> None:
        if self._agent is not None:
            self.world.journal.note("crash", why)
            self._end_agent()

    def _end_agent(self) -> None:
        """The process has died; another one is started soon."""
        if self._agent is not None:
            self._agent.died()
            self._agent = None
            self._disk.crash(self.world.random)
            self.world.later(self.world.random.choice((0.1, 5.0)) * self.world.random.random(), self._spawn_agent)

    def _find_channel(self, name: str) -> SimulatedChannel | None:
        return self._agent.find_channel(name) if self._agent is not None else None

    async def run(self) -> None:
        world = self.world
        devices = [Device(world, plan, world.plan.modes[plan.channel], self._find_channel) for plan in world.plan.devices]
        self._spawn_agent()
        self._tasks += [world.loop.create_task(device.run()) for device in devices]
        await self._disturb()
        world.calm_down()
        if world.random.random() < 0.25:
            self._crash("as the faults end")
        await self._until_over(devices)
        await self._close()
        if world.random.random() < 0.5:
            self._crash("in peace")
            await self._until_over(devices)
            await self._close()
        world.ledger.started(self._disk.rows())

    async def _disturb(self) -> None:
        """The faults that come by themselves, each second."""
        world, random = self.world, self.world.random
        while world.loop.time() < world.plan.seconds:
            await asyncio.sleep(random.random() * 2)
            if world.chance(world.faults.crash * 2):
                self._crash("between two callbacks")
            elif world.chance(world.faults.stop):
                await self._stop()
            if world.chance(world.faults.clock_jump):
                world.clock.offset += random.choice(JUMPS) * random.uniform(-1, 1)
                world.journal.note("the clock jumps to", round(world.clock.offset))
            if world.chance(world.faults.reload * 2):
                self._config = vary(self._config, world.plan.config, random)
                self._reload()

    def _reload(self) -> None:
        """Have the agent that runs work by the configuration of now, unless it is busy with an earlier one."""
        if self._agent is not None and self._agent.started and not self._agent.reloading:
            self._agent.reload(self._config)

    async def _stop(self) -> None:
        agent = self._agent
        if agent is None or agent.pipeline is None:
            return
        self.world.journal.note("stop", agent.process.name)
        stopping = self.world.loop.create_task(end_within(STOP_SECONDS, agent), context=agent.process.context)
        # it may die while it stops: then nothing of it comes to an end
        while not stopping.done() and agent.process.alive:  # noqa: ASYNC110  as said above
            await asyncio.sleep(0.05)
        if agent.process.alive:
            if not stopping.result():
                self.world.journal.violate("liveness", f"an orderly stop takes more than {STOP_SECONDS:g} s")
            faults = self.world.faults
            if not (faults.slow_disk or faults.commit_fails or faults.commit_in_doubt):
                self.world.ledger.stopped(agent.pipeline.figures()["buffered"])
            self._end_agent()

    def _take_first_config(self) -> None:
        """In the end everything is as it was in the beginning, and every channel listens."""
        self._config = self.world.plan.config
        pipeline = self._agent.pipeline if self._agent is not None else None
        if pipeline is not None and pipeline.config != self._config:
            self._reload()

    @property
    def _is_well(self) -> bool:
        """The agent has started and works by its configuration."""
        agent = self._agent
        if agent is None or agent.pipeline is None or not agent.started or agent.reloading:
            return False
        listening = [channel.name for channel in agent.channels if channel.listening]
        return agent.pipeline.config == self._config and sorted(listening) == sorted(self.world.plan.modes)

    async def _until_over(self, devices: list[Device]) -> None:
        end = self.world.loop.time() + CALM_SECONDS
        while self.world.loop.time() < end:
            await asyncio.sleep(1.0)
            self._take_first_config()
            live = any(not row.state.ended for row in self.world.ledger.rows.values())
            if not live and self._is_well and all(device.finished for device in devices):
                return
        for device in devices:
            if not device.finished:
                self.world.journal.violate("liveness", f"{device.plan.name} still waits for {device.waiting[:5]}")

    async def _close(self) -> None:
        """Nothing is left to do: the books must say so."""
        agent = self._agent
        if agent is None or agent.pipeline is None:
            self.world.journal.violate("liveness", "the agent does not run")
            return
        # what is due to be written is written by then
        await asyncio.sleep(5.0)
        statistics = agent.pipeline.statistics.channels.values()
        accepted = sum(channel.accepted for channel in statistics)
        ended = sum(channel.ended.total() for channel in statistics)
        self.world.ledger.closed(accepted, ended, {name: agent.pipeline.figures()[name] for name in ("buffered", "in_flight")})


def simulate(
    seed: int,
    *,
    hours: float = 0.05,
    disk: Callable[[], Disk] = SqliteDisk,
    strategy: MakeStrategy | None = None,
    keep_log: bool = False,
) -> Result:
    """Run one seed: `hours` of virtual time with faults, and then as long as it takes.

    `disk` and `strategy` put another store or strategy through it than medagent's own. Raises `Violation`.
    """
    world = World(make_plan(seed, hours), keep_log=keep_log)
    simulation = Simulation(world, disk(), strategy)
    world.loop.on_exception = lambda text: world.journal.violate("I10", f"nobody handles an exception: {text}")
    with _log_watched(world), small_limits(seed):
        try:
            world.loop.run(simulation.run())
        except Stalled as error:
            world.loop.failure = None
            world.journal.violate("liveness", str(error))
        finally:
            failure = world.loop.failure
            world.loop.failure = None
            world.loop.on_exception = lambda text: None
            world.loop.close()
    if isinstance(failure, Violation):
        raise failure
    return Result(
        seed,
        world.loop.time(),
        world.loop.steps,
        world.journal.digest,
        len(world.ledger.rows),
        simulation.starts,
        list(world.journal.lines) if keep_log else [],
    )


@contextmanager
def _log_watched(world: World) -> Iterator[None]:
    """The agent's log goes into the journal, and nowhere else."""
    logger, watch = logging.getLogger("medagent"), LogWatch(world)
    before = logger.propagate, logger.level
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(watch)
    try:
        yield
    finally:
        logger.removeHandler(watch)
        logger.propagate, logger.level = before
