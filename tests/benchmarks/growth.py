"""How costs grow with connections, channels, the size of messages, a backlog and plugins, and latency with throughput."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agent import Figures, Setup
from generator import Load
from messages import TYPICAL_BYTES
from scenarios import ENHANCED, FAULTS, FILL_AT_ONCE, START_SECONDS, Run, fill
from steps import Steps

# a row of the report: plain JSON
Row = dict[str, Any]
# a place on the x axis, and what was measured there
Point = tuple[float, Figures]

WINDOW = 10
"""Messages of a connection that are under way."""
COUNT = 20_000
DEVICES = 100
INTAKE = 5000
"""Messages by which the intake beside a backlog is measured."""
PACED_SECONDS = 3.0
SATURATED = 0.9
"""Share of an offered rate: an agent that does less has had enough, and is not offered more."""
MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Curve:
    """One thing that grows."""

    what: str
    x: str
    """What the places on the x axis are, with the unit."""
    places: tuple[float, ...]
    measure: Callable[[Run, Sequence[float]], Iterator[Point]]
    seconds: float
    """That a round takes, about."""
    starts: int = 1
    """Agents that are started in it."""


def by_connections(run: Run, places: Sequence[float]) -> Iterator[Point]:
    with run.site(Setup()) as at:
        at.warm_up(run.scaled(Load(COUNT)))
        for connections in places:
            yield connections, at.drive(run.scaled(Load(COUNT, connections=int(connections), window=WINDOW)))


def by_channels(run: Run, places: Sequence[float]) -> Iterator[Point]:
    for channels in places:
        with run.site(Setup(channels=int(channels))) as at:
            load = run.scaled(Load(COUNT, connections=DEVICES, window=WINDOW))
            at.warm_up(load)
            yield channels, at.drive(load)


def by_size(run: Run, places: Sequence[float]) -> Iterator[Point]:
    """As many messages of each size as make about the same bytes."""
    with run.site(Setup(settings={"maxFrameBytes": 8 * MIB})) as at:
        at.warm_up(run.scaled(Load(COUNT)))
        for size in places:
            count = round(min(COUNT, 100 * MIB / size))
            load = dataclasses.replace(run.scaled(Load(count, window=WINDOW)), size=int(size))
            figures = at.drive(load)
            yield size, figures | {"mb_per_second": round(figures["rate"] * size / 1e6, 2)}


def by_backlog(run: Run, places: Sequence[float]) -> Iterator[Point]:
    """Intake beside a silent server with so much queued already, and a start with it."""
    queued = 0
    with run.site(Setup(parameters=ENHANCED, silent=True)) as at:
        at.warm_up(run.scaled(Load(COUNT, expect="CA")))
        for backlog in places:
            for figures in fill(at, max(0, int(backlog) - queued)):
                if any(figures[name] for name in FAULTS):
                    yield backlog, figures
            load = run.scaled(Load(INTAKE, window=100, expect="CA"))
            figures = at.drive(load)
            queued = max(queued, int(backlog)) + load.count
            at.stop()
            at.server.ask("forget")
            at.start()
            yield backlog, figures | {"start_s": round(at.start_seconds, 3)}


def by_plugins(run: Run, places: Sequence[float]) -> Iterator[Point]:
    for plugins in places:
        with run.site(Setup(plugins=int(plugins))) as at:
            load = run.scaled(Load(COUNT, window=DEVICES))
            at.warm_up(load)
            figures = at.drive(load)
            yield plugins, figures | {"start_s": round(at.start_seconds, 3), "rss_mb": round(at.rss_mb, 1)}


def by_rate(run: Run, places: Sequence[float]) -> Iterator[Point]:
    with run.site(Setup(parameters=ENHANCED)) as at:
        at.warm_up(run.scaled(Load(COUNT, expect="CA,AA")))
        for rate in places:
            load = run.scaled(Load(round(rate * PACED_SECONDS), rate=rate, expect="CA,AA"))
            figures = at.drive(load)
            yield rate, figures
            if figures["rate"] < SATURATED * rate:
                return


CURVES = {
    "rate": Curve(
        "throughput against latency, 10 devices",
        "offered rate, messages/s",
        (100, 300, 1000, 3000, 10_000, 15_000, 20_000, 30_000),
        by_rate,
        28,
    ),
    "connections": Curve("10 messages under way on each", "connections", (1, 2, 5, 10, 20, 50, 100, 200), by_connections, 20),
    "channels": Curve("100 devices spread over them", "channels", (1, 10, 100), by_channels, 6, starts=3),
    "size": Curve("10 devices", "bytes of a message", (TYPICAL_BYTES, 5000, 50_000, 500_000, 5_000_000), by_size, 15),
    "backlog": Curve(
        "intake without a server, and a start",
        "messages in the queue",
        (0, 10_000, 100_000),
        by_backlog,
        6,
        starts=5,
    ),
    "plugins": Curve("each observes and transforms all messages", "plugins", (0, 1, 5, 10, 20), by_plugins, 10, starts=5),
}


def places_of(name: str, run: Run, last: bool) -> list[float]:
    """Those that are measured: the whole curve, or its last."""
    places = list(CURVES[name].places)
    if name == "backlog":
        places = [*(place for place in places if place < run.backlog), run.backlog]
    return places[-1:] if last else places


def seconds(name: str, run: Run, last: bool) -> float:
    """That a round of a curve takes, about."""
    share = len(places_of(name, run, last)) / len(CURVES[name].places)
    extra = run.backlog / FILL_AT_ONCE * 2 if name == "backlog" else 0
    return CURVES[name].seconds * run.scale * share + START_SECONDS * CURVES[name].starts * share + extra


def measure(name: str, run: Run, rounds: int, steps: Steps, *, last: bool) -> Row:
    """A row of the report: medians of the rounds at each place."""
    found: dict[float, list[Figures]] = {}
    for number in range(1, rounds + 1):
        with steps.step(f"{name} {number}", seconds(name, run, last)):
            for place, figures in CURVES[name].measure(run, places_of(name, run, last)):
                found.setdefault(place, []).append(figures)
    return {"curve": name, "what": CURVES[name].what, "x": CURVES[name].x, "points": [_point(*each) for each in found.items()]}


def _point(place: float, rounds: Sequence[Figures]) -> Row:
    keys = [key for key in rounds[0] if key not in FAULTS and all(key in each for each in rounds)]
    return {
        "x": place,
        "median": {key: statistics.median(each[key] for each in rounds) for key in keys},
        "faults": {key: max(each.get(key, 0) for each in rounds) for key in FAULTS},
    }
