"""Where and of what the figures are."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import sqlite3
import subprocess
import tempfile
from pathlib import Path

LIBRARIES = ("websockets", "uvloop", "msgspec", "aiosqlite")


def describe() -> dict[str, object]:
    """The machine, the software and the commit, as plain JSON."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **_checkout(Path(__file__).parent),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "file_system": _file_system(Path(tempfile.gettempdir())),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


def installed(python: str) -> dict[str, object]:
    """Which agent an environment has, to tell two of them apart. No path: figures are kept where others read them."""
    command = (python, "-P", "-c", "import medagent; print(medagent.__version__, medagent.__path__[0])")
    said = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout.strip()
    version, _, path = said.partition(" ")
    return {"version": version, **_checkout(path)}


def _checkout(folder: str | Path) -> dict[str, object]:
    return {"commit": _git(folder, "rev-parse", "HEAD"), "tree_is_dirty": bool(_git(folder, "status", "--porcelain"))}


def _git(folder: str | Path, *arguments: str) -> str:
    """What git says of a checkout; nothing where there is none."""
    try:
        return subprocess.run(("git", "-C", str(folder), *arguments), capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """Kind and device of what holds the agent's queue."""
    best, found = -1, ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, mount, kind = line.split()[:3]
        if folder.resolve().is_relative_to(mount) and len(mount) >= best:
            best, found = len(mount), f"{kind} on {device}"
    return found
