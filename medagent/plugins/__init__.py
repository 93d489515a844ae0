"""The plugins of one agent: finding, loading and calling them."""

from __future__ import annotations

from medagent.plugins.manager import PluginInfo, Plugins, build_registry

__all__ = ["Plugins", "PluginInfo", "build_registry"]
