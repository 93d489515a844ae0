"""The plugins of one agent: finding, loading and calling them."""

from __future__ import annotations

from medagent.plugins.info import PluginInfo, State
from medagent.plugins.manager import Plugins, build_registry

__all__ = ["Plugins", "PluginInfo", "State", "build_registry"]
