"""Goals, ceilings and costs as tables of Markdown, for a page that shows kept figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scenarios import SCENARIOS
from table import UNITS, Row, number

_REACHED = {"aim": "aim", "must": "must", "": "**no**"}


def goals(rows: Iterable[Row], judged: bool) -> str:
    """A line for each goal: what was measured, what was to be reached and, if `judged`, whether it was."""
    lines = ["| Scenario | Figure | Measured | Must | Aim | Reached |", "|---|---|---|---|---|---|"]
    for row in rows:
        for goal in SCENARIOS[row["scenario"]].goals:
            if (value := row["median"].get(goal.figure)) is None:
                continue
            bars = " | ".join(f"{'≥' if goal.at_least else '≤'} {number(bar)}" for bar in (goal.must, goal.aim))
            reached = _REACHED[goal.reached(value)] if judged else ""
            lines.append(f"| `{row['scenario']}` | {UNITS[goal.figure]} | {number(value)} | {bars} | {reached} |")
    return "\n".join(lines)


def ceilings(measured: Mapping[str, Row]) -> str:
    """A line for each ceiling of the machine."""
    lines = ["| Ceiling | A second | CPU-s per 10,000 | p50 / p99, ms |", "|---|---|---|---|"]
    for name, each in measured.items():
        latency = f"{number(each['p50_ms'])} / {number(each['p99_ms'])}" if "p50_ms" in each else ""
        lines.append(f"| `{name}` | {number(each['rate'])} | {number(each.get('cpu_s_per_10k'))} | {latency} |")
    return "\n".join(lines)


def costs(rows: Iterable[Row]) -> str:
    """A line for each cost, microseconds of CPU a message."""
    lines = ["| Cost | | µs, one message | µs, of 100 | Share of `pipelined` |", "|---|---|---|---|---|"]
    for row in rows:
        alone, together = (number(row["us"][size]) for size in ("1", "100"))
        share = f"{row['share']:.1%}" if "share" in row else ""
        lines.append(f"| {row['cost']} | {row['what']} | {alone} | {together} | {share} |")
    return "\n".join(lines)
