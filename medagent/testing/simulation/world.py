"""What the parts of a simulation share: time, chance, the log, the ledger, and the process that may die at any effect."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from random import Random

from medagent.testing.simulation.clock import VirtualClock
from medagent.testing.simulation.journal import Journal
from medagent.testing.simulation.ledger import Ledger
from medagent.testing.simulation.loop import Process, VirtualLoop
from medagent.testing.simulation.plan import Faults, Plan


class World:
    """One simulation's surroundings."""

    def __init__(self, plan: Plan, *, keep_log: bool = False) -> None:
        self.plan = plan
        self.faults: Faults = plan.faults
        self.random = Random(f"world {plan.seed}")  # noqa: S311  it must be the same each time
        self.loop = VirtualLoop(Random(f"loop {plan.seed}"))  # noqa: S311  as above
        self.clock = VirtualClock(self.loop)
        self.journal = Journal(self.loop, plan.seed, keep_all=keep_log)
        self.ledger = Ledger(self.journal)
        self.outside = copy_context()
        """For callbacks that no crash of the agent takes away."""
        self.crash: Callable[[str], None] = lambda why: None
        """Kills the agent."""
        self.on_calm: list[Callable[[], None]] = []

    def chance(self, probability: float) -> bool:
        return probability > 0.0 and self.random.random() < probability

    def effect(self, process: Process) -> bool:
        """A process is about to have an effect on the world. False if it is dead, or dies of it: then there is none."""
        if process.alive and self.chance(self.faults.crash):
            self.crash("at an effect")
        return process.alive

    def later(self, seconds: float, callback: Callable[[], None], process: Process | None = None) -> None:
        """Call in a while, as if from outside or, if it is still alive then, in a process."""
        self.loop.call_later(seconds, callback, context=self.outside if process is None else process.context)

    def latency(self) -> float:
        """Of a network, seconds."""
        return self.random.choice((0.0, 0.001, 0.002, 0.005, 0.02 * self.random.random(), 0.3 * self.random.random()))

    def calm_down(self) -> None:
        """No faults from now on."""
        self.journal.note("calm")
        self.faults = Faults()
        for callback in self.on_calm:
            callback()
