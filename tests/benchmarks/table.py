"""Figures as tables for people."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from growth import SATURATED
from rich import box
from rich.console import Console
from rich.table import Table
from scenarios import SCENARIOS

# as they are kept: plain JSON
Row = Mapping[str, Any]
Columns = Mapping[str, Sequence[str]]
"""Cells below each heading."""
WIDTH = 100
"""Where no terminal says how wide it is."""
GAP = 2
"""Between two columns."""
MARKS = {"aim": "✔ aim", "must": "✔ must", "": "✘"}
UNITS = {
    "rate": "messages/s",
    "cpu_s_per_10k": "CPU-s per 10,000",
    "CA_p50_ms": "commit ACK p50, ms",
    "CA_p99_ms": "commit ACK p99, ms",
    "AA_p50_ms": "answer p50, ms",
    "AA_p99_ms": "answer p99, ms",
    "peak_rss_mb": "peak RSS, MB",
    "filling_rss_mb": "peak RSS while filling, MB",
    "rss_mb": "RSS, MB",
    "start_s": "start to listening, s",
    "mb_per_second": "MB/s",
}
BARS = "must and aim are the project's own bars, for a quiet machine with two processors"


def text(report: Row, width: int) -> str:
    """All tables of a report, with lines of at most `width` where their words allow that."""
    sides = sorted({row["side"] for row in report["figures"]})
    parts = [_origin(report)]
    for side in sides:
        rows = [row for row in report["figures"] if row["side"] == side]
        title = f" of {side}" if len(sides) > 1 else ""
        parts.append(_table(f"Figures{title}", _figures(rows, report["rounds"]), width))
        judged = report["scale"] == 1
        note = BARS if judged else f"{BARS}; not judged, as the scale is not 1"
        parts.append(_table(f"Goals{title}\n{note}", _goals(rows, report["rounds"], judged), width))
    if report["ceilings"]:
        parts.append(_table("Ceilings of this machine: what it allows without an agent", _ceilings(report["ceilings"]), width))
    if report["ratios"]:
        parts.append(_table(_sides(report), _ratios(report["ratios"]), width))
    if report["costs"]:
        lines = number(report["costs"][-1]["lines_per_10k"])
        title = f"Costs, µs of CPU a message; {lines} lines of log per 10,000 messages"
        parts.append(_table(title, _costs(report["costs"]), width))
    parts += [
        _table(f"Growth by {curve['curve']}: {curve['what']}{_saturated(curve)}", _curve(curve), width)
        for curve in report["curves"]
    ]
    parts += [f"FAULTS in {row['scenario']}, {row['side']}: {row['faults']}" for row in report["figures"] if _bad(row)]
    parts += [
        f"FAULTS in growth by {curve['curve']}, at {number(point['x'])}: {point['faults']}"
        for curve in report["curves"]
        for point in curve["points"]
        if _bad(point)
    ]
    if failed := report.get("failed"):
        parts.append(f"FAILED: {', '.join(failed)}")
    return "\n\n".join(filter(None, parts))


def _bad(row: Row) -> bool:
    return any(row["faults"].values())


def _origin(report: Row) -> str:
    machine = report["machine"]
    load = " ".join(f"{each:g}" for each in machine["load_average"])
    rounds = "one round" if report["rounds"] == 1 else f"medians of {report['rounds']} rounds"
    return (
        f"{machine['cpu']}, {machine['cores']} processors, load average {load}; {machine['file_system']}\n"
        f"{_commit(machine)}; {machine['date']}; {rounds}, scale {report['scale']:g}"
    )


def _commit(row: Row) -> str:
    commit = f"commit {row['commit'][:10]}" if row["commit"] else "no commit known"
    return commit + (" and changes" if row["tree_is_dirty"] else "")


def _sides(report: Row) -> str:
    """What is compared, above its table."""
    lines = ["A divided by B: above 1 is better for rates, below 1 for all others"]
    for side, agent in report["agents"].items():
        settings = ", ".join(f"{name} {value}" for name, value in agent.get("settings", {}).items())
        lines.append(f"{side}: medagent {agent['version']}, {_commit(agent)}{f', with {settings}' if settings else ''}")
    if report.get("same_agent"):
        lines.append("A and B are the same installation with the same settings: the ratios are noise")
    return "\n".join(lines)


def _figures(rows: Sequence[Row], rounds: int) -> Columns:
    medians = [row["median"] for row in rows]
    return {
        "scenario": [row["scenario"] for row in rows],
        "messages a second": [number(median.get("rate")) for median in medians],
        "spread": [_spread(row, "rate", rounds) for row in rows],
        "of its ceiling": [f"{row['beside']['rate']['ratio']:.0%}" if "rate" in row["beside"] else "" for row in rows],
        "CPU-s per 10,000": [number(median.get("cpu_s_per_10k")) for median in medians],
        "commit ACK p50 / p99, ms": [_both(median, "CA_p50_ms", "CA_p99_ms", " / ") for median in medians],
        "answer p50 / p99, ms": [
            "" if SCENARIOS[row["scenario"]].at_once else _both(row["median"], "AA_p50_ms", "AA_p99_ms", " / ") for row in rows
        ],
        "peak RSS, MB": [number(median.get("peak_rss_mb", median.get("rss_mb"))) for median in medians],
        "peers' CPU-s per 10,000: devices + server": [
            _both(median, "generator_cpu_s_per_10k", "server_cpu_s_per_10k", " + ") for median in medians
        ],
    }


def _both(figures: Row, one: str, other: str, between: str) -> str:
    if one not in figures or other not in figures:
        return ""
    return f"{number(figures[one])}{between}{number(figures[other])}"


def _spread(row: Row, figure: str, rounds: int) -> str:
    """The range of the rounds as a share of their median."""
    return f"{row['spread'][figure]:.0%}" if rounds > 1 and figure in row["spread"] else ""


def _goals(rows: Iterable[Row], rounds: int, judged: bool) -> Columns:
    goals = [(row, goal) for row in rows for goal in SCENARIOS[row["scenario"]].goals if goal.figure in row["median"]]
    return {
        "scenario": [row["scenario"] for row, _ in goals],
        "*figure": [UNITS[goal.figure] for _, goal in goals],
        "measured": [number(row["median"][goal.figure]) for row, goal in goals],
        "spread": [_spread(row, goal.figure, rounds) for row, goal in goals],
        "must": [f"{'≥' if goal.at_least else '≤'} {number(goal.must)}" for _, goal in goals],
        "aim": [f"{'≥' if goal.at_least else '≤'} {number(goal.aim)}" for _, goal in goals],
        "reached": [MARKS[goal.reached(row["median"][goal.figure])] if judged else "" for row, goal in goals],
        "*beside its ceiling": [_beside(row["beside"].get(goal.figure)) for row, goal in goals],
    }


def _beside(beside: Row | None) -> str:
    return "" if beside is None else f"{number(beside['ratio'])} times {number(beside['value'])} ({beside['ceiling']})"


def _ceilings(ceilings: Mapping[str, Row]) -> Columns:
    rows = ceilings.values()
    return {
        "what": list(ceilings),
        "a second": [number(each["rate"]) for each in rows],
        "CPU-s per 10,000": [number(each.get("cpu_s_per_10k")) for each in rows],
        "p50 / p99, ms": [_both(each, "p50_ms", "p99_ms", " / ") for each in rows],
    }


def _ratios(ratios: Sequence[Row]) -> Columns:
    # how long answers take says nothing where all is offered at once
    shown = [each for each in ratios if not (SCENARIOS[each["scenario"]].at_once and each["figure"].startswith("AA_"))]
    return {
        "scenario": [each["scenario"] for each in shown],
        "*figure": [UNITS[each["figure"]] for each in shown],
        "ratio": [f"{each['ratio']:.3f}" for each in shown],
        "each round": [
            " ".join(f"{ratio:.2f}" for ratio in each["rounds"]) if len(each["rounds"]) > 1 else "" for each in shown
        ],
    }


def _costs(rows: Sequence[Row]) -> Columns:
    return {
        "what": [row["cost"] for row in rows],
        **{f"in batches of {size}": [number(row["us"][size]) for row in rows] for size in rows[0]["us"]},
        "of pipelined": [f"{row['share']:.1%}" if "share" in row else "" for row in rows],
        "*that is": [row["what"] for row in rows],
    }


def _curve(curve: Row) -> Columns:
    medians = [point["median"] for point in curve["points"]]
    # one figure of the memory is enough
    shown = [key for key in UNITS if key in medians[0] and not (key == "rss_mb" and "peak_rss_mb" in medians[0])]
    places = {curve["x"]: [number(point["x"]) for point in curve["points"]]}
    return places | {UNITS[key]: [number(median.get(key)) for median in medians] for key in shown}


def _saturated(curve: Row) -> str:
    """That a curve of offered rates has ended before its last place."""
    last = curve["points"][-1]
    if curve["curve"] != "rate" or last["median"]["rate"] >= SATURATED * last["x"]:
        return ""
    return (
        f"\nsaturated at {number(last['x'])} offered, of which it took {number(last['median']['rate'])}: more was not offered"
    )


def _table(title: str, columns: Columns, width: int) -> str:
    """Columns with empty cells only are left out; those that begin with * may wrap, of the others only the headings."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    full = {head: cells for head, cells in columns.items() if any(cells)}
    if not full:
        return ""
    needed = 0
    for place, (head, cells) in enumerate(full.items()):
        words = head.startswith("*")
        least = max(
            map(len, (*head.lstrip("*").split(), *(part for cell in cells for part in (cell.split() if words else [cell]))))
        )
        table.add_column(head.lstrip("*"), justify="left" if words or not place else "right", width=None if words else least)
        needed += least + GAP
    for row in zip(*full.values(), strict=True):
        table.add_row(*row)
    buffer = io.StringIO()
    Console(file=buffer, width=max(width, needed)).print(table)
    return "\n".join([title, *(line.rstrip() for line in buffer.getvalue().splitlines())])


def number(value: float | None) -> str:
    """As many digits as say something."""
    if value is None:
        return ""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"
