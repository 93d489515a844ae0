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
import sys
from pathlib import Path
from typing import Any

import ceilings
import machine
import rounds
import table
from rich.console import Console
from scenarios import SCENARIOS, Run
from steps import Steps

OUT = Path(__file__).resolve().parents[2] / "build" / "bench"
ASKED_FOR = {"backlog"}
"""Measured only when named."""
NAMES = (*ceilings.CEILINGS, *SCENARIOS)

# what is kept: plain JSON
Report = dict[str, Any]


def measure(options: argparse.Namespace) -> Report:
    """All that is asked for."""
    pythons = {"A": options.python} | ({"B": options.versus} if options.versus else {})
    runs = {side: Run(python, options.scale, options.backlog) for side, python in pythons.items()}
    names = options.only or [name for name in NAMES if name not in ASKED_FOR]
    limits = [name for name in ceilings.CEILINGS if name in names]
    scenarios = [name for name in SCENARIOS if name in names]
    seconds = ceilings.SECONDS * len(limits) + sum(
        rounds.seconds(name, run) * options.rounds for name in scenarios for run in runs.values()
    )
    report: Report = {"machine": machine.describe(), "rounds": options.rounds, "scale": options.scale}
    report |= {"agents": {side: machine.installed(python) for side, python in pythons.items()}}
    report |= {"ceilings": {}, "figures": [], "ratios": []}
    with Steps(seconds) as steps:
        for name in limits:
            with steps.step(name, ceilings.SECONDS):
                report["ceilings"][name] = ceilings.CEILINGS[name](options.scale)
        for name in scenarios:
            done = rounds.measure(name, runs, options.rounds, steps)
            report["figures"] += [rounds.row(name, side, figures, report["ceilings"]) for side, figures in done.items()]
            if options.versus:
                report["ratios"] += rounds.ratios(name, done["A"], done["B"])
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure")
    run.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    run.add_argument("--rounds", type=int, default=3, help="of which the median is taken (default: %(default)s)")
    run.add_argument("--python", default=sys.executable, help="of the environment with the agent (default: this one)")
    run.add_argument("--versus", metavar="PYTHON", help="of the environment with another agent, to compare with")
    run.add_argument("--scale", type=float, default=1.0, help="of the counts of messages (default: %(default)s)")
    run.add_argument("--backlog", type=int, default=1_000_000, help="messages of `backlog` (default: %(default)s)")
    run.add_argument("--out", type=Path, default=OUT, help="folder of figures.json (default: %(default)s)")
    run.add_argument("--format", choices=["table", "json"], default="table")
    options = parser.parse_args()
    report = measure(options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "figures.json").write_text(json.dumps(report, indent=1) + "\n")
    if options.format == "json":
        print(json.dumps(report))
    else:
        table.show(report, Console(width=None if sys.stdout.isatty() else table.WIDTH))
    return 1 if any(table.faulty(row) for row in report["figures"]) else 0


if __name__ == "__main__":
    sys.exit(main())
