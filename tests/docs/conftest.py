"""The example distributions of the documentation, built and installed as a third party's would be."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medagent.testing.distribution import pip_install

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclass(frozen=True, slots=True)
class InstalledExample:
    """One example, in a folder of its own."""

    source: Path
    target: Path
    """What must be on the path of a process that is to have it."""

    @property
    def environ(self) -> dict[str, str]:
        """For processes that have it."""
        return {"PYTHONPATH": str(self.target), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, *command: str) -> str:
        """Run a Python command line to its end; returns its output. Fails the test if it fails."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.source,
            env=os.environ | self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def install_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], InstalledExample]:
    """Builds and installs an example by its name, without a network."""

    def install(name: str) -> InstalledExample:
        folder = tmp_path_factory.mktemp(name)
        example = InstalledExample(folder / "source", folder / "target")
        shutil.copytree(DOCS / "examples" / name, example.source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        pip_install(example.target, example.source)
        return example

    return functools.cache(install)
