"""Where the programs of this repository write their results for docs/reliability.md: one JSON file each."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reliability"


def record(name: str, figures: Mapping[str, object]) -> None:
    """Write the figures with the day, the machine and the commit; an older file of this name is replaced."""
    git = ("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    commit = subprocess.run(git, capture_output=True, text=True, check=False)  # noqa: S603  a command of our own
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "commit": commit.stdout.strip() or "unknown",
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps({**about, **figures}, indent=2) + "\n", encoding="utf-8")
