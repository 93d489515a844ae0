"""The command line: what can be asked for, and what cannot."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import machine
from measuring import GROUPS

from medagent.config.builtin import EFFECTIVE, RETRY

SAME = "same"
NAMES = [name for group in GROUPS.values() for name in group]
SETTINGS = sorted({setting.name for setting in (*RETRY, *EFFECTIVE)})
WHERE = "give the python of an environment with medagent, such as .venv/bin/python"


def parser(description: str, out: Path) -> argparse.ArgumentParser:
    """`command` of the result is run, show, plot or list."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = made.add_subparsers(dest="command", required=True)
    _add_run(commands.add_parser("run", help="measure, and keep the figures"), out)
    show = commands.add_parser("show", help="print kept figures again")
    show.add_argument("--format", choices=["table", "markdown"], default="table", help="markdown has goals, ceilings and costs")
    plot = commands.add_parser("plot", help="draw the curves of kept figures again, beside them")
    for command in (show, plot):
        command.add_argument("figures", type=Path, help="the figures.json that a run has kept")
    commands.add_parser("list", help="print what can be measured, with its names")
    return made


def _add_run(run: argparse.ArgumentParser, out: Path) -> None:
    run.add_argument(
        "--only",
        nargs="+",
        type=_name,
        metavar="NAME",
        default=[],
        help="measure only these; `bench.py list` explains the names",
    )
    run.add_argument("--rounds", type=_count, default=3, help="measure so often and take the median (default: %(default)s)")
    run.add_argument(
        "--python", type=installation, default=sys.executable, help="measure the agent of this environment (default: this one)"
    )
    run.add_argument(
        "--versus",
        type=_other,
        metavar="PYTHON",
        help=f"measure the scenarios in turns with the agent of this environment; `{SAME}`: of the same one, without --setting",
    )
    run.add_argument(
        "--setting",
        action="append",
        type=_setting,
        default=[],
        metavar="NAME=VALUE",
        help="measure with this setting of the Agent, its value in JSON, in scenarios and curves; can be repeated",
    )
    run.add_argument("--scale", type=_positive, default=1.0, help="multiply the counts of messages (default: %(default)s)")
    run.add_argument(
        "--backlog",
        type=_count,
        default=100_000,
        help="queue so many messages where a backlog is measured (default: %(default)s)",
    )
    run.add_argument("--last", action="store_true", help="measure only the last point of each curve, and draw none")
    run.add_argument(
        "--out", type=Path, help=f"keep figures.json and plots in this folder (default: {out}; with --only {out}/only)"
    )
    run.add_argument("--format", choices=["table", "json"], default="table", help="print tables for people, or figures.json")


def _name(text: str) -> str:
    if text not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is no name of what can be measured: `bench.py list` has them")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number


def _setting(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    if name not in SETTINGS:
        raise argparse.ArgumentTypeError(f"{name!r} is no setting of an agent: there are {', '.join(SETTINGS)}")
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, bool | int | float | str):
        raise argparse.ArgumentTypeError(f"{text!r} has no value in JSON, such as 500, true or '\"text\"'")
    return name, parsed


def _other(text: str) -> machine.Installation | str:
    return SAME if text == SAME else installation(text)


def installation(text: str) -> machine.Installation:
    """The agent of an environment, by the path of its Python."""
    # absolute, but with its links, by which a Python knows its environment
    path = Path(text).absolute()
    if path.is_dir():
        inside = [path / each for each in (".venv/bin/python", "bin/python", "python") if os.access(path / each, os.X_OK)]
        raise argparse.ArgumentTypeError(f"{path} is a folder: give {inside[0]}" if inside else f"{path} is a folder: {WHERE}")
    if not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f"{path} cannot be run: {WHERE}")
    try:
        return machine.installation(str(path))
    except (OSError, ValueError, subprocess.SubprocessError):
        raise argparse.ArgumentTypeError(f"{path} is no Python with medagent: {WHERE}") from None
