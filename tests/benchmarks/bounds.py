"""Which ceiling a figure stands beside, and how near it is."""

from __future__ import annotations

from collections.abc import Mapping

from agent import Figures
from scenarios import Scenario

Ceilings = Mapping[str, Figures]
# names of ceilings, their figure, and the ratio of the measured one to it
Beside = dict[str, str | float]
_LATENCIES = {"CA_p50_ms": "p50_ms", "CA_p99_ms": "p99_ms"}


def needed(scenario: Scenario) -> set[str]:
    """The ceilings that its figures stand beside."""
    timed = any(goal.figure in _LATENCIES for goal in scenario.goals)
    return {*scenario.bounds, *(("fdatasync",) if timed else ())}


def beside(figures: Mapping[str, float], scenario: Scenario, ceilings: Ceilings) -> dict[str, Beside]:
    """The ceiling of each figure that has one.

    Of the rate: the lowest ceiling, or, for messages that go through them one by one, all of them after each other. Of the CPU:
    what all of them cost. Of the time until a commit: that of one fdatasync.
    """
    found: dict[str, Beside] = {}
    bounds = {name: ceilings[name] for name in scenario.bounds if name in ceilings}
    # the lowest of some ceilings may not be the lowest of all
    if "rate" in figures and bounds and len(bounds) == len(scenario.bounds):
        rates = {name: each["rate"] for name, each in bounds.items()}
        if scenario.one_by_one:
            names, limit = " + ".join(rates), 1 / sum(1 / rate for rate in rates.values())
        else:
            names = min(rates, key=lambda name: rates[name])
            limit = rates[names]
        found["rate"] = _beside(names, limit, figures["rate"])
        cpu = sum(each["cpu_s_per_10k"] for each in bounds.values())
        found["cpu_s_per_10k"] = _beside(" + ".join(bounds), cpu, figures["cpu_s_per_10k"])
    for figure, of_ceiling in _LATENCIES.items():
        if figure in figures and "fdatasync" in ceilings:
            found[figure] = _beside("fdatasync", ceilings["fdatasync"][of_ceiling], figures[figure])
    return found


def _beside(names: str, limit: float, value: float) -> Beside:
    return {"ceiling": names, "value": round(limit, 3), "ratio": round(value / limit, 3) if limit else 0.0}
