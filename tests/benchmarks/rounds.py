"""Scenarios in rounds: one agent, or two in turns, and what the rounds say together."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from agent import Figures
from bounds import Ceilings, beside
from scenarios import FAULTS, SCENARIOS, START_SECONDS, Run
from steps import Steps

# a row of the report: plain JSON
Row = dict[str, Any]
COMPARED = ("rate", "cpu_s_per_10k", "CA_p50_ms", "CA_p99_ms", "AA_p50_ms", "AA_p99_ms", "peak_rss_mb", "rss_mb", "start_s")


def seconds(name: str, run: Run) -> float:
    """That a round of a scenario takes, about."""
    share = run.backlog / 1_000_000 if name == "backlog" else run.scale
    return START_SECONDS + SCENARIOS[name].seconds * share


def measure(name: str, runs: Mapping[str, Run], count: int, steps: Steps) -> dict[str, list[Figures]]:
    """The figures of each side, round by round. The sides take turns, so that a change of the machine's mood meets both."""
    rounds: dict[str, list[Figures]] = {side: [] for side in runs}
    for number in range(1, count + 1):
        for side, run in runs.items():
            with steps.step(f"{name}, {side}{number}", seconds(name, run)):
                rounds[side].append(SCENARIOS[name].measure(run))
    return rounds


def row(name: str, side: str, rounds: Sequence[Figures], ceilings: Ceilings) -> Row:
    """Medians of the rounds, their spread as a share of the median, and the worst of what must be 0."""
    columns = {
        key: [each[key] for each in rounds] for key in rounds[0] if key not in FAULTS and all(key in each for each in rounds)
    }
    medians = {key: statistics.median(column) for key, column in columns.items()}
    return {
        "scenario": name,
        "side": side,
        "median": medians,
        "spread": {key: round((max(column) - min(column)) / (medians[key] or 1), 3) for key, column in columns.items()},
        "faults": {key: max(each.get(key, 0) for each in rounds) for key in FAULTS},
        "beside": beside(medians, SCENARIOS[name], ceilings),
        "rounds": list(rounds),
    }


def ratios(name: str, ours: Sequence[Figures], theirs: Sequence[Figures]) -> list[Row]:
    """A divided by B: of the medians, and round by round."""
    found = []
    for key in COMPARED:
        if all(each.get(key) for each in (*ours, *theirs)):
            ratio = statistics.median(each[key] for each in ours) / statistics.median(each[key] for each in theirs)
            each_round = [round(a[key] / b[key], 3) for a, b in zip(ours, theirs, strict=True)]
            found.append({"scenario": name, "figure": key, "ratio": round(ratio, 3), "rounds": each_round})
    return found
