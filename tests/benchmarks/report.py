"""What was measured, as `figures.json` keeps it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from growth import CURVES

# plain JSON
Report = dict[str, Any]
FILE = "figures.json"
PARTS = ("machine", "rounds", "scale", "ceilings", "figures", "ratios", "costs", "curves")


class Unusable(Exception):
    """What was asked for cannot be done; the sentence says what to give instead."""


def load(path: Path) -> Report:
    """Raises `Unusable`."""
    try:
        report = json.loads(path.read_bytes())
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}; give a {FILE} that a run has kept") from None
    except ValueError:
        report = None
    if not isinstance(report, dict) or not report.keys() >= set(PARTS):
        raise Unusable(f"{path} is no report of a run: give a {FILE} that a run has kept")
    return report


def make(folder: Path) -> None:
    """Raises `Unusable` where a report could not be kept."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(f"--out: {folder} cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Unusable(f"--out: nothing can be written in {folder}")


def save(report: Report, folder: Path) -> None:
    """In place of the report before, whose plots go: they would not be of these figures."""
    fresh = folder / f"{FILE}.new"
    fresh.write_text(json.dumps(report, indent=1) + "\n")
    fresh.replace(folder / FILE)
    for name in CURVES:
        (folder / f"{name}.svg").unlink(missing_ok=True)


def sound(report: Report) -> bool:
    """Whether nothing failed and each message of each run was acknowledged exactly once, and all in order."""
    points = [point for curve in report["curves"] for point in curve["points"]]
    faults = any(value for each in (*report["figures"], *points) for value in each["faults"].values())
    return not faults and not report["failed"]
