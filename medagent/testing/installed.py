"""Plugins of modules that no distribution offers, as if one did: for an agent in this process, and for a child process."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from medagent.plugins import Plugins
from medagent.plugins.discovery import ENTRY_POINT_GROUP
from medagent.testing.distribution import describe


def plugins_with(*modules: ModuleType) -> Plugins:
    """The installed plugins, and these. Raises `PluginError` for one that cannot be used."""
    plugins = Plugins()
    for module in _not_installed(modules):
        plugins.register(module, module.__name__)
    return plugins


def environ_with(modules: Sequence[ModuleType], folder: Path) -> dict[str, str]:
    """The environment of a child process that finds these too; `folder` is made, for what says so."""
    if not (missing := _not_installed(modules)):
        return {}
    described = folder / "plugins_under_test-0.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    describe(described, "plugins-under-test", "0", {module.__name__: module.__name__ for module in missing})
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def _not_installed(modules: Sequence[ModuleType]) -> list[ModuleType]:
    installed = {found.module for found in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}
    return [module for module in modules if module.__name__ not in installed]
