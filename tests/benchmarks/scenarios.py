"""What is measured of an agent at its work, and the goals."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from agent import Figures, Settings, Setup, Site, site
from generator import Load

ENHANCED = "enhanced=true"
FILL_AT_ONCE = 50_000
"""Messages of a backlog that one process of devices builds and sends."""
IDLE_SECONDS = 2.0
LEAST_MESSAGES = 10
START_SECONDS = 2.0
FAULTS = ("missing", "wrong", "duplicate", "negative", "out_of_order")
"""Figures that must be 0 in every run."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """Of one figure."""

    figure: str
    must: float
    aim: float
    at_least: bool = False
    """The figure is to be as large as this; otherwise at most."""

    def reached(self, value: float) -> str:
        """`aim`, `must` or nothing."""
        for name, bar in (("aim", self.aim), ("must", self.must)):
            if value >= bar if self.at_least else value <= bar:
                return name
        return ""


@dataclasses.dataclass(frozen=True)
class Run:
    """How one run is made."""

    python: str
    """Of the environment in which the agent is installed."""
    scale: float = 1.0
    """Of the counts of messages."""
    backlog: int = 100_000
    settings: Settings = dataclasses.field(default_factory=dict)
    """Of the Agent, above those of a scenario."""

    def site(self, setup: Setup) -> AbstractContextManager[Site]:
        return site(dataclasses.replace(setup, settings={**setup.settings, **self.settings}), self.python)

    def scaled(self, load: Load) -> Load:
        return dataclasses.replace(load, count=max(min(load.count, LEAST_MESSAGES), round(load.count * self.scale)))


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One thing to measure."""

    what: str
    measure: Callable[[Run], Figures]
    goals: tuple[Goal, ...]
    seconds: float
    """That the work of a round takes, about; starting an agent takes `START_SECONDS` more."""
    bounds: tuple[str, ...] = ()
    """The ceilings that it cannot pass, by name."""
    one_by_one: bool = False
    """A message goes through them after each other, and no other beside it."""
    at_once: bool = False
    """All is offered at once: how long an answer takes says how much was offered."""


def driven(load: Load, setup: Setup) -> Callable[[Run], Figures]:
    """Start an agent, warm it up, and have devices send."""

    def measure(run: Run) -> Figures:
        with run.site(setup) as at:
            scaled = run.scaled(load)
            at.warm_up(scaled)
            return at.drive(scaled)

    return measure


def idle(run: Run) -> Figures:
    """Nothing to do."""
    with run.site(Setup()) as at:
        time.sleep(IDLE_SECONDS * min(run.scale, 1))
        return {"start_s": round(at.start_seconds, 3), "rss_mb": round(at.rss_mb, 1)}


def backlog(run: Run) -> Figures:
    """Fill a queue beside a silent server, start again with it, and drain it."""
    with run.site(Setup(parameters=ENHANCED, silent=True)) as at:
        fills = list(fill(at, run.backlog))
        at.stop()
        at.server.ask("answer")
        at.start()
        start_seconds = at.start_seconds
        drained = drain(at, run.backlog)
    cpu = sum(each["cpu_s_per_10k"] * each["messages"] for each in fills) / run.backlog
    return {
        "messages": run.backlog,
        "fill_rate": round(run.backlog / sum(each["seconds"] for each in fills), 1),
        "fill_cpu_s_per_10k": round(cpu, 3),
        "filling_rss_mb": max(each["peak_rss_mb"] for each in fills),
        "start_s": round(start_seconds, 3),
        **{name: max(each[name] for each in fills) for name in FAULTS},
        **drained,
    }


def fill(at: Site, count: int) -> Iterator[Figures]:
    """Queue messages, in several loads."""
    while count:
        part = min(count, FILL_AT_ONCE)
        yield at.drive(Load(part, window=400, expect="CA"))
        count -= part


def drain(at: Site, count: int) -> Figures:
    """Wait until all of the backlog has come to the server. Raises `RuntimeError` if more comes, or the agent ends."""
    while (seen := at.server.ask("figures"))["transmits"] < count:
        at.check()
        time.sleep(0.2)
    if seen["transmits"] > count:
        raise RuntimeError(f"{count} messages were queued, and {seen['transmits']} came")
    return {
        "rate": round(count / max(seen["seconds"], 1e-6), 1),
        "cpu_s_per_10k": round(at.cpu_seconds / count * 10_000, 3),
        "peak_rss_mb": round(at.peak_rss_mb, 1),
        "out_of_order": seen["out_of_order"],
    }


def _goals(**bars: tuple[float, float]) -> tuple[Goal, ...]:
    return tuple(Goal(name, must, aim, at_least=name == "rate") for name, (must, aim) in bars.items())


STRICT: Settings = {"batchAdaptive": False, "batchSize": 100, "batchFlushMs": 100}
SCENARIOS = {
    "pipelined": Scenario(
        "10 devices, as many messages under way as the agent takes",
        driven(Load(100_000), Setup()),
        _goals(rate=(12_000, 22_000), cpu_s_per_10k=(0.8, 0.42)),
        8,
        ("sqlite_100", "websocket", "mllp"),
        at_once=True,
    ),
    "lockstep50": Scenario(
        "50 devices, each waits for its answer",
        driven(Load(40_000, connections=50, window=1), Setup()),
        _goals(rate=(7_000, 12_000), cpu_s_per_10k=(1.2, 0.7)),
        7,
        ("sqlite_50", "websocket", "mllp"),
    ),
    "lockstep10": Scenario(
        "10 devices, each waits for its answer",
        driven(Load(15_000, window=1), Setup()),
        _goals(cpu_s_per_10k=(3.5, 2.0)),
        7,
        ("sqlite_10", "websocket", "mllp"),
    ),
    "lockstep1": Scenario(
        "one device that waits for its answers",
        driven(Load(3_000, connections=1, window=1), Setup()),
        _goals(cpu_s_per_10k=(7.5, 5.0)),
        4,
        ("sqlite_1", "websocket_lockstep1", "mllp_lockstep1"),
        one_by_one=True,
    ),
    "rate1000enhanced": Scenario(
        "1,000 messages a second, each answered at its commit and by the server",
        driven(Load(10_000, rate=1000, expect="CA,AA"), Setup(parameters=ENHANCED)),
        _goals(CA_p50_ms=(3, 1), CA_p99_ms=(25, 12)),
        11,
    ),
    "rate1000": Scenario(
        "1,000 messages a second, commits of 100 messages or 100 ms",
        driven(Load(10_000, rate=1000), Setup(settings=STRICT)),
        _goals(cpu_s_per_10k=(2.0, 1.0)),
        11,
    ),
    "rate10000": Scenario(
        "10,000 messages a second",
        driven(Load(100_000, rate=10_000), Setup()),
        _goals(rate=(9_900, 9_900), AA_p99_ms=(100, 30)),
        11,
        ("sqlite_100", "websocket", "mllp"),
    ),
    "delay20": Scenario(
        "50 devices on one channel, in order, a server that takes 20 ms",
        driven(Load(60_000, connections=50), Setup(delay_ms=20)),
        _goals(rate=(8_000, 17_000)),
        7,
        ("sqlite_100", "websocket", "mllp"),
        at_once=True,
    ),
    "server-silent": Scenario(
        "durable intake: 10 devices, 100 messages under way on each, a server that does not answer",
        driven(Load(100_000, window=100, expect="CA"), Setup(parameters=ENHANCED, silent=True)),
        _goals(rate=(20_000, 50_000)),
        8,
        ("sqlite_100", "mllp"),
    ),
    "idle": Scenario("no message", idle, _goals(rss_mb=(65, 45), start_s=(1.0, 0.4)), 2),
    "backlog": Scenario(
        "a full queue: filled, started with, drained",
        backlog,
        _goals(filling_rss_mb=(100, 64), peak_rss_mb=(100, 64), rate=(8_000, 26_000), start_s=(1.0, 0.4)),
        120,
        ("sqlite_100", "websocket"),
    ),
}
