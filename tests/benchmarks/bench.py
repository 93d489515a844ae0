"""Measure an agent between devices and a server: figures, the ceilings of the machine, what features cost, how costs grow.

    bench.py list                             what can be measured, with its names
    bench.py run                              all of it; about a quarter of an hour
    bench.py run --backlog 1000000            with the backlog of a day; some minutes and about 1.5 GB more
    bench.py run --only pipelined lockstep50  some of it, and the ceilings that it stands beside
    bench.py run --versus ../before/.venv/bin/python --only pipelined
    bench.py run --setting batchSize=500 --versus same --only pipelined
    bench.py show build/bench/figures.json    the tables again of what was measured
    bench.py plot build/bench/figures.json    the plots again

Everything stays on loopback, and the agent's queue below the temporary folder (TMPDIR): have it on the disk that is meant.
With --versus two agents take turns (A B A B), A being this one; on a machine with other work only their ratios say something.
Fails if any message was not acknowledged exactly once, never because of times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import arguments
import markdown
import report as reports
import table
from measuring import GROUPS, Plan, measure
from scenarios import Run

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "build" / "bench"
INTERRUPTED = 130


def run(options: argparse.Namespace) -> int:
    # some figures do not take the place of all
    out: Path = options.out or (OUT / "only" if options.only else OUT)
    reports.make(out)
    kept = False

    def keep(report: reports.Report) -> None:
        nonlocal kept
        reports.save(report, out)
        kept = True

    try:
        report = measure(_plan(options), keep)
    except KeyboardInterrupt:
        print(f"interrupted; {f'{out} has what was measured' if kept else 'nothing was measured yet'}", file=sys.stderr)
        return INTERRUPTED
    draw(report, out)
    print(json.dumps(report) if options.format == "json" else table.text(report, _width()))
    print(f"kept in {out}", file=sys.stderr)
    return 0 if reports.sound(report) else 1


def _plan(options: argparse.Namespace) -> Plan:
    agents, settings = {"A": options.python}, {"A": dict(options.setting)}
    if options.versus:
        agents["B"], settings["B"] = options.python if options.versus == arguments.SAME else options.versus, {}
    runs = {side: Run(agent.python, options.scale, options.backlog, settings[side]) for side, agent in agents.items()}
    return Plan(agents, runs, options.only, options.rounds, options.last)


def draw(report: reports.Report, folder: Path) -> list[Path]:
    if not report["curves"]:
        return []
    import plots  # takes half a second, and not every run has curves

    return plots.draw(report, folder)


def plot(options: argparse.Namespace) -> int:
    for path in draw(reports.load(options.figures), options.figures.parent):
        print(path)
    return 0


def show(options: argparse.Namespace) -> int:
    report = reports.load(options.figures)
    if options.format == "markdown":
        goals = markdown.goals(report["figures"], judged=report["scale"] == 1)
        print(goals, markdown.ceilings(report["ceilings"]), markdown.costs(report["costs"]), sep="\n\n")
    else:
        print(table.text(report, _width()))
    return 0


def names(_: argparse.Namespace) -> int:
    for group, members in GROUPS.items():
        print(f"{group}:")
        for name, what in members.items():
            print(f"  {name:<{max(map(len, arguments.NAMES))}}  {what}")
    return 0


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else table.WIDTH


COMMANDS = {"run": run, "show": show, "plot": plot, "list": names}


def main() -> int:
    options = arguments.parser(__doc__ or "", OUT.relative_to(ROOT)).parse_args()
    try:
        return COMMANDS[options.command](options)
    except reports.Unusable as error:
        print(f"bench.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
