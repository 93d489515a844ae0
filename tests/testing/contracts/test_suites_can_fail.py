"""The suites find what they are for: each broken implementation fails in exactly the tests that its class names."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
PARTS = 3
"""Processes for one file."""


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


def start(folder: Path, report: Path, *which: str, patience: str = "") -> subprocess.Popen[str]:
    """Start pytest on files or classes, with no plugins but the one that is needed; `report` gets what it finds."""
    ini = folder / "pytest.ini"
    ini.write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\nasyncio_mode = strict\n")
    plugins = ["-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"]
    where = ["-c", str(ini), "--rootdir", str(folder), f"--basetemp={folder / report.stem}"]
    return subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(report), "-q", *plugins, *where, *which],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **({"PATIENCE": patience} if patience else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def failures(*parts: Sequence[str], patience: str = "") -> dict[str, dict[str, str]]:
    """Run parts of a file beside each other: most of the time they wait for what does not come.

    Returns the text of each failure, "" for none, by class and test.
    """
    found: dict[str, dict[str, list[str]]] = {}
    # what is broken needs no real disk, and many tests flush it
    memory = Path("/dev/shm")  # noqa: S108  a folder in it, and no known name
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        reports = [Path(place) / f"part{number}.json" for number in range(len(parts))]
        children = [start(Path(place), report, *part, patience=patience) for report, part in zip(reports, parts, strict=True)]
        try:
            for child, report in zip(children, reports, strict=True):
                output, _ = child.communicate(timeout=100)
                assert report.exists(), output
                found |= json.loads(report.read_text())
        finally:
            for child in children:
                child.kill()
                child.communicate()
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
def test_each_broken_one_fails_where_it_should(name: str) -> None:
    file = str(HERE / f"broken_{name}.py")
    suites = {name: made for name, made in runpy.run_path(file).items() if name.startswith("Test")}
    found = failures(*([f"{file}::{suite}" for suite in list(suites)[part::PARTS]] for part in range(PARTS)))
    assert found.keys() == suites.keys()
    texts = [text for tests in found.values() for text in tests.values() if text]
    assert all("Promised: " in text and "Written:  " in text for text in texts)
    wrong = differences(suites, found)
    if wrong:
        # their patience is short, so that those that hang take little time: on a busy machine it may be too short
        wrong = differences(suites, failures([f"{file}::{suite}" for suite in wrong], patience="2"))
    assert wrong == {}
