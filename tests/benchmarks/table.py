"""The figures as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from scenarios import SCENARIOS

# as they are kept: plain JSON
Row = Mapping[str, Any]
WIDTH = 140
"""Where no terminal says how wide it is."""
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


def show(report: Mapping[str, Any], console: Console) -> None:
    """All tables of a report."""
    sides = sorted({row["side"] for row in report["figures"]})
    for side in sides:
        rows = [row for row in report["figures"] if row["side"] == side]
        title = f" of {side}" if len(sides) > 1 else ""
        console.print(_figures(rows, f"Figures{title}, medians of {report['rounds']}"), _goals(rows, f"Goals{title}"))
    if report["ceilings"]:
        console.print(_ceilings(report["ceilings"]))
    if report["ratios"]:
        console.print(_ratios(report["ratios"]))
    if report["costs"]:
        console.print(_costs(report["costs"]))
    console.print(*map(_curve, report["curves"]))
    for row in report["figures"]:
        if any(row["faults"].values()):
            console.print(f"[bold red]{row['scenario']}, {row['side']}: {row['faults']}")


def _figures(rows: Iterable[Row], title: str) -> Table:
    heads = (
        "messages/s",
        "±",
        "of its ceiling",
        "CPU-s per 10,000",
        "commit ACK ms",
        "answer ms",
        "peak RSS MB",
        "peers' CPU-s",
    )
    table = _table(title, "scenario", *heads)
    for row in rows:
        median = row["median"]
        table.add_row(
            row["scenario"],
            number(median.get("rate")),
            f"{row['spread'].get('rate', 0):.0%}" if "rate" in median else "",
            f"{row['beside']['rate']['ratio']:.0%}" if "rate" in row["beside"] else "",
            number(median.get("cpu_s_per_10k")),
            _latency(median, "CA"),
            _latency(median, "AA"),
            number(median.get("peak_rss_mb", median.get("rss_mb"))),
            _peers(median),
        )
    return table


def _latency(median: Row, code: str) -> str:
    p50, p99 = median.get(f"{code}_p50_ms"), median.get(f"{code}_p99_ms")
    return "" if p50 is None else f"{number(p50)} / {number(p99)}"


def _peers(median: Row) -> str:
    if "generator_cpu_s_per_10k" not in median:
        return ""
    return f"{number(median['generator_cpu_s_per_10k'])} + {number(median['server_cpu_s_per_10k'])}"


def _goals(rows: Iterable[Row], title: str) -> Table:
    table = _table(title, "scenario", "figure", "measured", "±", "must", "aim", "reached", "beside its ceiling")
    for row in rows:
        for goal in SCENARIOS[row["scenario"]].goals:
            value = row["median"][goal.figure]
            table.add_row(
                row["scenario"],
                UNITS[goal.figure],
                number(value),
                f"{row['spread'][goal.figure]:.0%}",
                *(f"{'≥' if goal.at_least else '≤'} {number(bar)}" for bar in (goal.must, goal.aim)),
                MARKS[goal.reached(value)],
                _beside(row["beside"].get(goal.figure)),
            )
    return table


def _beside(beside: Row | None) -> str:
    return "" if beside is None else f"{number(beside['ratio'])} times {number(beside['value'])} ({beside['ceiling']})"


def _ceilings(ceilings: Mapping[str, Row]) -> Table:
    table = _table("Ceilings of this machine", "what", "a second", "CPU-s per 10,000", "p50 / p99 ms")
    for name, each in ceilings.items():
        p50, p99 = each.get("p50_ms"), each.get("p99_ms")
        latency = "" if p50 is None else f"{number(p50)} / {number(p99)}"
        table.add_row(name, number(each["rate"]), number(each.get("cpu_s_per_10k")), latency)
    return table


def _ratios(ratios: Iterable[Row]) -> Table:
    table = _table("A divided by B", "scenario", "figure", "ratio", "each round")
    for each in ratios:
        rounds = " ".join(f"{ratio:.2f}" for ratio in each["rounds"])
        table.add_row(each["scenario"], UNITS[each["figure"]], f"{each['ratio']:.3f}", rounds)
    return table


def _costs(rows: Sequence[Row]) -> Table:
    sizes = list(rows[0]["us"])
    title = f"Costs, µs of CPU a message; {number(rows[-1]['lines_per_10k'])} lines of log per 10,000 messages"
    table = _table(title, "what", *(f"in batches of {size}" for size in sizes), "of pipelined", "that is")
    table.columns[-1].justify = "left"
    for row in rows:
        share = f"{row['share']:.1%}" if "share" in row else ""
        table.add_row(row["cost"], *(number(row["us"][size]) for size in sizes), share, row["what"])
    return table


def _curve(curve: Row) -> Table:
    shown = [key for key in UNITS if key in curve["points"][0]["median"]]
    table = _table(f"Growth by {curve['curve']}: {curve['what']}", curve["x"], *(UNITS[key] for key in shown))
    for point in curve["points"]:
        table.add_row(number(point["x"]), *(number(point["median"][key]) for key in shown))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="right")
    return table


def number(value: float | None) -> str:
    """As many digits as say something."""
    if value is None:
        return ""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"
