"""Measure an agent between devices and a server: figures, the ceilings of the machine, and how costs grow.

    bench.py run                              all but the backlog of a million messages; about a quarter of an hour
    bench.py run --only pipelined lockstep50  some of it
    bench.py run --versus ../before/.venv/bin/python --only pipelined
    bench.py plot build/bench/figures.json    draw again what was measured

Everything stays on loopback, and the agent's queue below the temporary folder (TMPDIR): have it on the disk that is meant.
With --versus two agents take turns (A B A B), A being this one; on a machine with other work only their ratios say something.
Fails if any message was not acknowledged exactly once, never because of times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import table
from agent import Figures
from rich.console import Console
from rich.progress import Progress
from scenarios import FAULTS, SCENARIOS, START_SECONDS, Run

HERE = Path(__file__).resolve().parent
OUT = HERE.parents[1] / "build" / "bench"
COMPARED = ("rate", "cpu_s_per_10k", "CA_p50_ms", "CA_p99_ms", "AA_p50_ms", "AA_p99_ms", "peak_rss_mb", "rss_mb", "start_s")
LONG = {"backlog"}
"""Only when asked for."""

# as they are kept: plain JSON
Report = dict[str, Any]


def measure(options: argparse.Namespace, console: Console) -> Report:
    """All that is asked for."""
    runs = {"A": Run(options.python, options.scale, options.backlog)}
    if options.versus:
        runs["B"] = Run(options.versus, options.scale, options.backlog)
    names = (
        [name for name in SCENARIOS if name in options.only]
        if options.only
        else [name for name in SCENARIOS if name not in LONG]
    )
    lengths = {name: START_SECONDS + SCENARIOS[name].seconds * options.scale for name in names}
    seconds = sum(lengths.values()) * options.rounds * len(runs)
    console.print(f"this takes about {max(1, round(seconds / 60))} min")
    report: Report = {"machine": machine.describe(), "rounds": options.rounds, "scale": options.scale}
    report |= {"ceilings": {}, "figures": [], "ratios": []}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds)
        for name in names:
            rounds: dict[str, list[Figures]] = {side: [] for side in runs}
            for number in range(options.rounds):
                for side, run in runs.items():
                    progress.update(task, description=f"{name} {side}{number + 1}")
                    rounds[side].append(SCENARIOS[name].measure(run))
                    progress.advance(task, lengths[name])
            rows = [_row(name, side, done) for side, done in rounds.items()]
            report["figures"] += rows
            if options.versus:
                report["ratios"] += _ratios(name, rounds["A"], rounds["B"])
    return report


def _row(name: str, side: str, rounds: Sequence[Figures]) -> Report:
    figures = [key for key, value in rounds[0].items() if key not in FAULTS]
    medians = {key: statistics.median(each[key] for each in rounds) for key in figures}
    spread = {
        key: round((max(each[key] for each in rounds) - min(each[key] for each in rounds)) / (medians[key] or 1), 3)
        for key in figures
    }
    worst = {key: max(each.get(key, 0) for each in rounds) for key in FAULTS}
    return {"scenario": name, "side": side, "median": medians, "spread": spread, "worst": worst, "rounds": list(rounds)}


def _ratios(name: str, ours: Sequence[Figures], theirs: Sequence[Figures]) -> list[Report]:
    """Of the medians, and round by round."""
    ratios = []
    for key in COMPARED:
        if key in ours[0] and all(each[key] for each in theirs):
            median = statistics.median(each[key] for each in ours) / statistics.median(each[key] for each in theirs)
            rounds = [round(a[key] / b[key], 3) for a, b in zip(ours, theirs, strict=True)]
            ratios.append({"scenario": name, "figure": key, "ratio": round(median, 3), "rounds": rounds})
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help=f"of {', '.join(SCENARIOS)}")
    run.add_argument("--rounds", type=int, default=3, help="of which the median is taken (default: %(default)s)")
    run.add_argument("--python", default=sys.executable, help="of the environment with the agent (default: this one)")
    run.add_argument("--versus", metavar="PYTHON", help="of the environment with another agent, to compare with")
    run.add_argument("--scale", type=float, default=1.0, help="of the counts of messages (default: %(default)s)")
    run.add_argument("--backlog", type=int, default=1_000_000, help="messages of `backlog` (default: %(default)s)")
    run.add_argument("--out", type=Path, default=OUT, help="folder of figures.json (default: %(default)s)")
    run.add_argument("--format", choices=["table", "json"], default="table")
    options = parser.parse_args()
    report = measure(options, Console(stderr=True))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "figures.json").write_text(json.dumps(report, indent=1) + "\n")
    if options.format == "json":
        print(json.dumps(report))
    else:
        table.show(report, Console(width=None if sys.stdout.isatty() else table.WIDTH))
    return 1 if any(table.faults(row) for row in report["figures"]) else 0


if __name__ == "__main__":
    sys.exit(main())
