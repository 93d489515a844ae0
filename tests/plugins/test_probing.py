"""Imports in child processes: what hangs or crashes there does so nowhere else, and nothing stays of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from medagent.plugins import probing
from medagent.plugins.probing import probe

CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
# a signal handler of Python's runs only between two instructions: blocked signals stand for code that never comes back
HANG = """
import os, pathlib, signal, subprocess, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path(__file__).with_suffix(".pid").write_text(f"{os.getpid()} {helper.pid}")
while True:
    time.sleep(600)
"""


def gone(process: int) -> bool:
    """It has ended, reaped or not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_hangs_and_crashes_are_told_apart_from_what_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(probing, "PROBE_SECONDS", 4.0)
    for name, source in {
        "well": "print('noise')",
        "raises": "raise ValueError",
        "exits": "import sys; sys.exit(0)",
        "leaves": "import os; os._exit(0)",
        "crashes": CRASH,
        "hangs": HANG,
    }.items():
        (tmp_path / f"probed_{name}.py").write_text(source)
    names = ("well", "raises", "exits", "leaves", "crashes", "hangs")
    assert probe([f"probed_{name}" for name in names]) == {
        "probed_leaves": "its import ends the process with code 0",
        "probed_crashes": "its import ends the process by signal SIGSEGV",
        "probed_hangs": "its import takes more than 4 s",
    }
    child, helper = map(int, (tmp_path / "probed_hangs.pid").read_text().split())
    end = time.monotonic() + 5
    while not (gone(child) and gone(helper)) and time.monotonic() < end:
        os.sched_yield()
    assert gone(child)
    assert gone(helper)


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "probed_here.py").write_text(CRASH)
    assert probe(["probed_here"]) == {}
