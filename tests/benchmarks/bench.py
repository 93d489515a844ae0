"""Measure an agent between devices and a server: figures, the ceilings of the machine, what features cost, how costs grow.

    bench.py run                              all of it; about a quarter of an hour
    bench.py run --backlog 1000000            with the backlog of a day; some minutes and about 1.5 GB more
    bench.py run --only pipelined lockstep50  some of it
    bench.py run --versus ../before/.venv/bin/python --only pipelined
    bench.py show build/bench/figures.json    the tables again of what was measured
    bench.py plot build/bench/figures.json    the plots again

Everything stays on loopback, and the agent's queue below the temporary folder (TMPDIR): have it on the disk that is meant.
With --versus two agents take turns (A B A B), A being this one; on a machine with other work only their ratios say something.
Fails if any message was not acknowledged exactly once, never because of times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import ceilings
import costs
import growth
import machine
import markdown
import rounds
import table
from rich.console import Console
from scenarios import SCENARIOS, Run
from steps import Steps

OUT = Path(__file__).resolve().parents[2] / "build" / "bench"
CURVES = {f"growth-{name}": name for name in growth.CURVES}
NAMES = (*ceilings.CEILINGS, *SCENARIOS, costs.NAME, *CURVES)

# what is kept: plain JSON
Report = dict[str, Any]


def measure(options: argparse.Namespace) -> Report:
    """All that is asked for."""
    pythons = {"A": options.python} | ({"B": options.versus} if options.versus else {})
    runs = {side: Run(python, options.scale, options.backlog) for side, python in pythons.items()}
    names = options.only or NAMES
    limits = [name for name in ceilings.CEILINGS if name in names]
    scenarios = [name for name in SCENARIOS if name in names]
    curves = [curve for name, curve in CURVES.items() if name in names]
    each_round = ceilings.SECONDS * len(limits)
    each_round += sum(rounds.seconds(name, run) for name in scenarios for run in runs.values())
    each_round += costs.seconds(options.scale) if costs.NAME in names else 0
    each_round += sum(growth.seconds(name, runs["A"], options.last) for name in curves)
    report: Report = {"machine": machine.describe(), "rounds": options.rounds, "scale": options.scale}
    report |= {"agents": {side: machine.installed(python) for side, python in pythons.items()}}
    report |= {"ceilings": {}, "figures": [], "ratios": [], "costs": [], "curves": []}
    with Steps(each_round * options.rounds) as steps:
        for name in limits:
            report["ceilings"][name] = ceilings.measure(name, options.rounds, options.scale, steps)
        for name in scenarios:
            done = rounds.measure(name, runs, options.rounds, steps)
            report["figures"] += [rounds.row(name, side, figures, report["ceilings"]) for side, figures in done.items()]
            if options.versus:
                report["ratios"] += rounds.ratios(name, done["A"], done["B"])
        if costs.NAME in names:
            whole = [row["median"] for row in report["figures"] if (row["scenario"], row["side"]) == ("pipelined", "A")]
            report["costs"] = costs.measure(options.python, options.rounds, options.scale, steps)
            costs.shares(report["costs"], whole[0] if whole else None)
        for name in curves:
            report["curves"].append(growth.measure(name, runs["A"], options.rounds, steps, last=options.last))
    return report


def interpreter(text: str) -> str:
    """An argument: the path of a Python, absolute and with its links, by which it knows its environment."""
    path = Path(text).absolute()
    if not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be run: give the python of an environment, such as .venv/bin/python")
    return str(path)


def sound(report: Report) -> bool:
    """Whether each message of each run was acknowledged exactly once, and all in order."""
    points = [point for curve in report["curves"] for point in curve["points"]]
    return not any(value for each in (*report["figures"], *points) for value in each["faults"].values())


def run(options: argparse.Namespace) -> int:
    report = measure(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "figures.json").write_text(json.dumps(report, indent=1) + "\n")
    if report["curves"]:
        draw(report, options.out)
    if options.format == "json":
        print(json.dumps(report))
    else:
        table.show(report, Console(width=None if sys.stdout.isatty() else table.WIDTH))
    print(f"kept in {options.out}", file=sys.stderr)
    return 0 if sound(report) else 1


def draw(report: Report, folder: Path) -> list[Path]:
    import plots  # takes half a second, and not every run has curves

    return plots.draw(report, folder)


def plot(options: argparse.Namespace) -> int:
    report = json.loads(options.figures.read_text())
    for path in draw(report, options.figures.parent):
        print(path)
    return 0


def show(options: argparse.Namespace) -> int:
    report = json.loads(options.figures.read_text())
    if options.format == "markdown":
        print(markdown.goals(report["figures"]))
    else:
        table.show(report, Console(width=None if sys.stdout.isatty() else table.WIDTH))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="measure")
    running.set_defaults(command=run)
    running.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    running.add_argument("--rounds", type=int, default=3, help="of which the median is taken (default: %(default)s)")
    running.add_argument(
        "--python", type=interpreter, default=sys.executable, help="of the environment with the agent (default: this one)"
    )
    running.add_argument(
        "--versus", type=interpreter, metavar="PYTHON", help="of the environment with another agent; curves are of the first"
    )
    running.add_argument("--scale", type=float, default=1.0, help="of the counts of messages (default: %(default)s)")
    running.add_argument("--backlog", type=int, default=100_000, help="messages queued at most (default: %(default)s)")
    running.add_argument("--last", action="store_true", help="of each curve only the last point")
    running.add_argument("--out", type=Path, default=OUT, help="folder of figures.json and plots (default: %(default)s)")
    running.add_argument("--format", choices=["table", "json"], default="table")
    showing = commands.add_parser("show", help="print kept figures again")
    showing.set_defaults(command=show)
    plotting = commands.add_parser("plot", help="draw again from kept figures, beside them")
    plotting.set_defaults(command=plot)
    for command in (showing, plotting):
        command.add_argument("figures", type=Path, help="a figures.json")
    showing.add_argument("--format", choices=["table", "markdown"], default="table", help="markdown: the goals only")
    options = parser.parse_args()
    status: int = options.command(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
