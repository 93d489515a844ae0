"""Finding the plugins that installed distributions offer."""

from __future__ import annotations

import importlib.metadata

ENTRY_POINT_GROUP = "medagent"


def entry_points_by_name() -> list[importlib.metadata.EntryPoint]:
    """Those of all installed distributions; nothing is imported."""
    return sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda entry_point: entry_point.name)
