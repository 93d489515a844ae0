"""The goals as a table of Markdown, for a page that shows kept figures."""

from __future__ import annotations

from collections.abc import Iterable

from scenarios import SCENARIOS
from table import UNITS, Row, number

_REACHED = {"aim": "aim", "must": "must", "": "**no**"}


def goals(rows: Iterable[Row]) -> str:
    """A line for each goal: what was measured, and what was to be reached."""
    lines = ["| Scenario | Figure | Measured | Must | Aim | Reached |", "|---|---|---|---|---|---|"]
    for row in rows:
        for goal in SCENARIOS[row["scenario"]].goals:
            value = row["median"][goal.figure]
            bars = " | ".join(f"{'≥' if goal.at_least else '≤'} {number(bar)}" for bar in (goal.must, goal.aim))
            reached = _REACHED[goal.reached(value)]
            lines.append(f"| `{row['scenario']}` | {UNITS[goal.figure]} | {number(value)} | {bars} | {reached} |")
    return "\n".join(lines)
