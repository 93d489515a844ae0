"""Distributions with one plugin each, installed into a folder that is put on `PYTHONPATH`, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from medagent.plugins.discovery import ENTRY_POINT_GROUP


def install(folder: Path, name: str, source: str, *, module: str = "", distribution: str = "") -> str:
    """As an installer leaves it: a module, and a `.dist-info` folder beside it. Returns the module's name.

    `name` is the entry point's; the distribution is `medagent-NAME` 1.5, or what `distribution` says.
    """
    module = module or f"plugin_{name}"
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    distribution = distribution or f"medagent-{name.replace('_', '-')}"
    info = folder / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir()
    describe(info, distribution, "1.5", {name: module})
    return module


def describe(info: Path, distribution: str, version: str, plugins: Mapping[str, str]) -> None:
    """Say in a `.dist-info` folder what a distribution offers: modules of plugins, by entry point.

    https://packaging.python.org/en/latest/specifications/entry-points/
    """
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    points = "".join(f"{name} = {module}\n" for name, module in plugins.items())
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{points}", encoding="utf-8")


def environ_with(folder: Path) -> dict[str, str]:
    """The environment of a process that finds what is installed in `folder`."""
    return os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def pip_install(folder: Path, *sources: Path) -> None:
    """Build distributions and install them into `folder`, without a network. Raises `RuntimeError` with pip's output."""
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    done = subprocess.run(  # noqa: S603  the command is this module's
        [sys.executable, "-m", "pip", "install", "--quiet", *offline, "--target", str(folder), *map(str, sources)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"pip failed:\n{done.stdout}")
