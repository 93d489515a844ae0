"""Importing a plugin, and taking back what an import has left when it fails."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator

from medagent.errors import PluginError
from medagent.plugins.discovery import ENTRY_POINT_GROUP


def import_object(value: str) -> object:
    """What an entry point's value names. Raises whatever the plugin raises."""
    plugin: object = importlib.metadata.EntryPoint("", value, ENTRY_POINT_GROUP).load()
    if plugin is None:
        raise PluginError(f"{value} is None: the entry point must name a module or an object with hooks")
    return plugin


@contextlib.contextmanager
def all_or_nothing(value: str) -> Iterator[None]:
    """If the body fails, the modules of the plugin's own package that it has imported are gone."""
    before = set(sys.modules)
    try:
        yield
    except BaseException:
        package = value.partition(":")[0].partition(".")[0].strip()
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == package:
                del sys.modules[name]
        raise
