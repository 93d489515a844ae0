"""The suites find what they are for: each broken implementation fails in exactly the tests that its class names."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent


RUNNER = """
import json, sys
import pytest

class Notes:
    def __init__(self):
        self.found = {}

    def pytest_runtest_logreport(self, report):
        _, suite, test = report.nodeid.split("::")
        failures = self.found.setdefault(suite, {}).setdefault(test.removeprefix("test_"), [])
        if report.failed:
            failures.append(str(report.longrepr))

notes = Notes()
pytest.main(sys.argv[2:], plugins=[notes])
with open(sys.argv[1], "w") as file:
    json.dump(notes.found, file)
"""


def failures(folder: Path, *which: str, patience: str = "") -> dict[str, dict[str, str]]:
    """Run pytest on files or classes, with no plugins but the one that is needed.

    Returns the text of each failure, "" for none, by class and test.
    """
    report, ini = folder / "report.json", folder / "pytest.ini"
    ini.write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\nasyncio_mode = strict\n")
    # what is broken needs no real disk, and many tests flush it
    memory = Path("/dev/shm")  # noqa: S108  a folder in it, and no known name
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        plugins = ["-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"]
        command = ["-c", RUNNER, report, "-q", *plugins, "-c", ini, "--rootdir", folder, f"--basetemp={place}/tests", *which]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **({"PATIENCE": patience} if patience else {})},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    return {suite: {test: "\n".join(texts) for test, texts in tests.items()} for suite, tests in found.items()}


Wrong = dict[str, dict[str, list[str]]]


def differences(suites: dict[str, Any], found: dict[str, dict[str, str]]) -> Wrong:
    """By class: which of the failures that it names are missing, and which others there are."""
    failed = {suite: {test for test, text in tests.items() if text} for suite, tests in found.items()}
    return {
        suite: {"not found": sorted(suites[suite].fails - tests), "found besides": sorted(tests - suites[suite].fails)}
        for suite, tests in failed.items()
        if tests != suites[suite].fails
    }


@pytest.mark.parametrize("name", ["strategies", "stores", "uplinks"])
def test_each_broken_one_fails_where_it_should(name: str, tmp_path: Path) -> None:
    file = str(HERE / f"broken_{name}.py")
    suites = {name: made for name, made in runpy.run_path(file).items() if name.startswith("Test")}
    found = failures(tmp_path, file)
    assert found.keys() == suites.keys()
    texts = [text for tests in found.values() for text in tests.values() if text]
    assert all("Promised: " in text and "Written:  " in text for text in texts)
    wrong = differences(suites, found)
    if wrong:
        # their patience is short, so that those that hang take little time: on a busy machine it may be too short
        wrong = differences(suites, failures(tmp_path, *(f"{file}::{suite}" for suite in wrong), patience="2"))
    assert wrong == {}
