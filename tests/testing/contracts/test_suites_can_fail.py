"""The suites find what they are for: each broken implementation fails in exactly the tests that its class names."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

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


def failures(file: Path, folder: Path) -> dict[str, dict[str, str]]:
    """Run pytest on a file, with no plugins but the one that is needed; the text of each failure, "" for none, by class and
    test."""
    report, ini = folder / "report.json", folder / "pytest.ini"
    ini.write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\nasyncio_mode = strict\n")
    # what is broken needs no real disk, and many tests flush it
    memory = Path("/dev/shm")  # noqa: S108  a folder in it, and no known name
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        plugins = ["-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"]
        command = ["-c", RUNNER, report, "-q", *plugins, "-c", ini, "--rootdir", folder, f"--basetemp={place}/tests", file]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert report.exists(), done.stdout + done.stderr
    found = json.loads(report.read_text())
    return {suite: {test: "\n".join(texts) for test, texts in tests.items()} for suite, tests in found.items()}


@pytest.mark.parametrize("name", ["strategies", "stores", "uplinks"])
def test_each_broken_one_fails_where_it_should(name: str, tmp_path: Path) -> None:
    file = HERE / f"broken_{name}.py"
    suites = {name: made for name, made in runpy.run_path(str(file)).items() if name.startswith("Test")}
    found = failures(file, tmp_path)
    texts = [text for tests in found.values() for text in tests.values() if text]
    assert all("Promised: " in text and "Written:  " in text for text in texts)
    failed = {suite: {test for test, text in tests.items() if text} for suite, tests in found.items()}
    wrong = {
        suite: {"not found": sorted(made.fails - failed[suite]), "found besides": sorted(failed[suite] - made.fails)}
        for suite, made in suites.items()
        if failed[suite] != made.fails
    }
    assert wrong == {}
