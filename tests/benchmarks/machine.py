"""Where and of what the figures are."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path

_TELL = """
import contextlib, importlib.metadata, json, platform, sqlite3, medagent
software = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "libraries": {}}
for name in "websockets", "uvloop", "msgspec", "aiosqlite":
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        software["libraries"][name] = importlib.metadata.version(name)
print(json.dumps({"version": medagent.__version__, "path": medagent.__path__[0], "software": software}))
"""
ANSWERS_WITHIN = 60.0


@dataclasses.dataclass(frozen=True)
class Installation:
    """The agent of an environment."""

    python: str
    """The interpreter of the environment."""
    path: str
    """Where the package is. Not kept: figures are shown where others read them."""
    version: str
    software: dict[str, object]
    """Versions of Python, SQLite and libraries, as plain JSON."""

    def describe(self) -> dict[str, object]:
        """To tell two of them apart, as plain JSON."""
        return {"version": self.version, **_checkout(self.path), "software": self.software}


def describe(software: dict[str, object]) -> dict[str, object]:
    """The machine, the commit of the benchmark and the software of the first agent, as plain JSON."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **_checkout(Path(__file__).parent),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "kernel": platform.release(),
        **software,
        "file_system": _file_system(Path(tempfile.gettempdir())),
    }


def installation(python: str) -> Installation:
    """Raises `OSError` or `subprocess.SubprocessError` where none can be found, `ValueError` where it does not say."""
    # -P and another folder: the checkout in which the benchmark is started is not meant
    said = subprocess.run(
        (python, "-P", "-c", _TELL), cwd="/", capture_output=True, text=True, check=True, timeout=ANSWERS_WITHIN
    )
    return Installation(python, **json.loads(said.stdout))


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
