"""The curves as SVG, by matplotlib: each from the kept figures, without measuring again."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

# a row of the report: plain JSON
Row = Mapping[str, Any]
COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Of Okabe and Ito, which the colour-blind can tell apart."""
MARKERS = ("o", "s", "^")
# the names of matplotlib, and values of many types
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.fonttype": "none",
    "svg.hashsalt": "medagent",
}


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    lines: Mapping[str, str]
    """What is drawn: figures, and their names in the legend."""
    log_y: bool = False


CPU = Panel("CPU-seconds per 10,000 messages", {"cpu_s_per_10k": ""})
RATE = Panel("messages/s", {"rate": ""})
MEMORY = Panel("peak memory (RSS), MB", {"peak_rss_mb": ""})
LATENCY = Panel("until the commit ACK, ms", {"CA_p50_ms": "p50", "CA_p99_ms": "p99"}, log_y=True)
START = Panel("start to listening, s", {"start_s": ""})
PANELS = {
    "rate": (LATENCY, Panel(CPU.title, CPU.lines, log_y=True)),
    "connections": (CPU, RATE, MEMORY),
    "channels": (CPU, RATE, MEMORY),
    "size": (Panel(CPU.title, CPU.lines, log_y=True), Panel("MB/s", {"mb_per_second": ""}), MEMORY),
    "backlog": (Panel("messages/s taken in", {"rate": ""}), MEMORY, START),
    "plugins": (CPU, RATE, START),
}
LINEAR = {"plugins"}
"""Curves whose x axis is not logarithmic."""


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """A file for each curve of a report that has several points, named as the curve."""
    curves = [curve for curve in report["curves"] if len(curve["points"]) > 1]
    with mpl.rc_context(STYLE):
        return [_draw(curve, _origin(report), folder / f"{curve['curve']}.svg") for curve in curves]


def _draw(curve: Row, origin: str, path: Path) -> Path:
    panels = PANELS[curve["curve"]]
    figure = Figure(figsize=(max(4.2 * len(panels), 11), 3.6), layout="constrained")
    for number, panel in enumerate(panels):
        _panel(figure.add_subplot(1, len(panels), number + 1), panel, curve)
    figure.suptitle(f"{curve['curve'].capitalize()}: {curve['what']}", x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(origin, x=0.01, ha="left", fontsize=8, color="0.4")
    figure.savefig(path, metadata={"Date": None})
    return path


def _panel(axes: Axes, panel: Panel, curve: Row) -> None:
    places = [point["x"] for point in curve["points"]]
    for (figure, label), colour, marker in zip(panel.lines.items(), COLOURS, MARKERS, strict=False):
        values = [point["median"][figure] for point in curve["points"]]
        axes.plot(places, values, marker=marker, color=colour, label=label)
    axes.set_title(panel.title, fontsize=10, loc="left")
    last = curve["points"][-1]
    note = f" (of the last, {last['median']['rate']:,.0f} reached)" if curve["curve"] == "rate" else ""
    axes.set_xlabel(curve["x"] + note)
    if curve["curve"] not in LINEAR:
        # a place of nothing has no logarithm: up to the next one the axis is linear
        axes.set_xscale("symlog", linthresh=min(filter(None, places), default=1)) if 0 in places else axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
    axes.set_xticks(places, minor=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_plain))
        axis.set_minor_formatter(NullFormatter())
    if len(panel.lines) > 1:
        axes.legend(frameon=False)


def _plain(value: float, _: object) -> str:
    """1k and 1M, as an axis has little room."""
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _origin(report: Row) -> str:
    machine = report["machine"]
    commit = f"commit {machine['commit'][:10] or 'unknown'}{' and changes' if machine['tree_is_dirty'] else ''}"
    medians = f"medians of {report['rounds']} rounds, scale {report['scale']:g}"
    return f"{machine['cpu']}, {machine['cores']} cores; {commit}; {machine['date'][:10]}; {medians}"
