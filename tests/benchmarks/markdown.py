"""The goals as a table of Markdown, for a page that shows kept figures."""

from __future__ import annotations

from collections.abc import Iterable

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
