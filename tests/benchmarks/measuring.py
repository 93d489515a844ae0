"""A run: ceilings, scenarios, costs and curves after each other, kept as they come."""

from __future__ import annotations

import dataclasses
import http.client
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import bounds
import ceilings
import costs
import growth
import machine
import rounds
from report import Report
from scenarios import SCENARIOS, Run
from steps import Steps

CURVES = {f"growth-{name}": name for name in growth.CURVES}
GROUPS: Mapping[str, Mapping[str, str]] = {
    "ceilings": ceilings.WHAT,
    "scenarios": {name: scenario.what for name, scenario in SCENARIOS.items()},
    "curves": {name: f"by {growth.CURVES[curve].x}: {growth.CURVES[curve].what}" for name, curve in CURVES.items()},
    "costs": {costs.NAME: "what the agent's features cost, in microseconds of CPU a message"},
}
"""What can be measured, and what each of it is."""
FAILURES = (RuntimeError, OSError, ValueError, http.client.HTTPException)
"""Of an agent that does not start, ends or is not heard, and of its peers."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    agents: Mapping[str, machine.Installation]
    """By side: A, and B if there are two."""
    runs: Mapping[str, Run]
    only: Sequence[str]
    """Names; none for all."""
    rounds: int
    last: bool
    """Of each curve only the last point."""

    def has(self, name: str) -> bool:
        return not self.only or name in self.only

    @property
    def scenarios(self) -> list[str]:
        return [name for name in SCENARIOS if self.has(name)]

    @property
    def ceilings(self) -> list[str]:
        """Those that the scenarios stand beside, too."""
        beside = {name for scenario in self.scenarios for name in bounds.needed(SCENARIOS[scenario])}
        return [name for name in ceilings.CEILINGS if self.has(name) or name in beside]

    @property
    def curves(self) -> list[str]:
        return [curve for name, curve in CURVES.items() if self.has(name)]

    @property
    def seconds(self) -> float:
        """That all of it takes, about."""
        first = self.runs["A"]
        return self.rounds * (
            ceilings.SECONDS * len(self.ceilings)
            + sum(rounds.seconds(name, run) for name in self.scenarios for run in self.runs.values())
            + (costs.seconds(first.scale) if self.has(costs.NAME) else 0)
            + sum(growth.seconds(name, first, self.last) for name in self.curves)
        )


def measure(plan: Plan, keep: Callable[[Report], None]) -> Report:
    """All that is planned. What fails is told, and the rest goes on; after each part `keep` is called."""
    first, installed = plan.runs["A"], list(plan.agents.values())
    report: Report = {
        "machine": machine.describe(plan.agents["A"].software),
        "rounds": plan.rounds,
        "scale": first.scale,
        "agents": {side: each.describe() | {"settings": plan.runs[side].settings} for side, each in plan.agents.items()},
        "same_agent": len(installed) > 1 and installed[0] == installed[1] and first == plan.runs["B"],
        "ceilings": {},
        "figures": [],
        "ratios": [],
        "costs": [],
        "curves": [],
        "failed": [],
    }

    with Steps(plan.seconds) as steps:

        def attempt(name: str, work: Callable[[], None]) -> None:
            try:
                work()
            except FAILURES as error:
                report["failed"].append(name)
                steps.say(f"{name} failed: {error}")
            keep(report)

        def ceiling(name: str) -> None:
            report["ceilings"][name] = ceilings.measure(name, plan.rounds, first.scale, steps)

        def scenario(name: str) -> None:
            done = rounds.measure(name, plan.runs, plan.rounds, steps)
            report["figures"] += [rounds.row(name, side, figures, report["ceilings"]) for side, figures in done.items()]
            if "B" in done:
                report["ratios"] += rounds.ratios(name, done["A"], done["B"])

        def cost() -> None:
            whole = [row["median"] for row in report["figures"] if (row["scenario"], row["side"]) == ("pipelined", "A")]
            report["costs"] = costs.measure(first.python, plan.rounds, first.scale, steps)
            costs.shares(report["costs"], whole[0] if whole else None)

        def curve(name: str) -> None:
            report["curves"].append(growth.measure(name, first, plan.rounds, steps, last=plan.last))

        for name in plan.ceilings:
            attempt(name, partial(ceiling, name))
        for name in plan.scenarios:
            attempt(name, partial(scenario, name))
        if plan.has(costs.NAME):
            attempt(costs.NAME, cost)
        for name in plan.curves:
            attempt(f"growth-{name}", partial(curve, name))
    return report
