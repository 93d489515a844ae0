"""A plugin's module for a child process as if its distribution were installed there."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from types import ModuleType

from medagent.plugins.discovery import ENTRY_POINT_GROUP


def environ_with(plugin: ModuleType | None, folder: Path) -> dict[str, str]:
    """The environment of a process that has the plugin; `folder` is made, for what says so. None: it is installed."""
    if plugin is None or _is_installed(plugin):
        return {}
    described = folder / "plugin_under_test-0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-under-test\nVersion: 0\n")
    (described / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nplugin-under-test = {plugin.__name__}\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def _is_installed(plugin: ModuleType) -> bool:
    # https://packaging.python.org/en/latest/specifications/entry-points/: a module, or an object in it
    return any(found.module == plugin.__name__ for found in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP))
