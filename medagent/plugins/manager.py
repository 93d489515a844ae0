"""The plugins of one agent: the built-in ones, and those that installed distributions offer by entry point.

Every agent has a manager of its own, so two agents in one process never meet. A plugin that cannot be loaded is listed with
the reason and harms no other.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from medagent import __version__
from medagent.channel import ChannelFactory
from medagent.clock import Clock
from medagent.config.settings import Registry
from medagent.errors import PLUGIN_FAULTS, PluginError
from medagent.plugins.calls import HookCalls
from medagent.plugins.discovery import entry_points_by_name
from medagent.plugins.schemes import Schemes
from medagent.sender import SenderFactory

log = logging.getLogger(__name__)

BUILT_IN = (
    "medagent.config.plugin",
    "medagent.queue.plugin",
    "medagent.requests.plugin",
    "medagent.uplink.plugin",
)
"""The core's own plugins, which use the same hooks as everybody's. A third party's answer is asked for first."""


BUILT_IN_ORIGIN = "built in"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One line of `medagent plugins`."""

    name: str
    version: str
    origin: str
    """`built in`, or the distribution it comes from."""
    hooks: tuple[str, ...] = ()
    error: str = ""
    """Why it could not be loaded."""


class Plugins(HookCalls):
    """Loads plugins and holds what they registered."""

    def __init__(self, *, entry_points: bool = True, blocked: Collection[str] = (), clock: Clock = time) -> None:
        """`blocked`: names of installed plugins that are not even imported."""
        super().__init__(clock)
        self.registry = Registry()
        self.channel_types: Schemes[ChannelFactory] = Schemes()
        self.sender_types: Schemes[SenderFactory] = Schemes()
        # historic: each plugin's implementation runs as it is registered, so its faults are its own
        self._manager.hook.medagent_register_settings.call_historic(kwargs={"registry": self.registry})
        self._manager.hook.medagent_register_channel_types.call_historic(kwargs={"register": self.channel_types.register})
        self._manager.hook.medagent_register_sender_types.call_historic(kwargs={"register": self.sender_types.register})
        self._infos: list[PluginInfo] = []
        for module in BUILT_IN:
            self.register(importlib.import_module(module), module.split(".")[1], __version__, BUILT_IN_ORIGIN)
        if entry_points:
            for entry_point in entry_points_by_name():
                if entry_point.name not in blocked:
                    self._load(entry_point)

    @property
    def hook(self) -> Any:
        """pluggy's hook relay, whose attributes are made at run time: see `medagent.hookspecs` for their types."""
        return self._manager.hook

    @property
    def schemes(self) -> frozenset[str]:
        return frozenset(self.channel_types.factories)

    @property
    def infos(self) -> list[PluginInfo]:
        return list(self._infos)

    def register(self, plugin: object, name: str, version: str = "", origin: str = "") -> None:
        """Add a plugin object. Raises `PluginError`, and then has not added it."""
        if self._manager.has_plugin(name):
            raise PluginError(f"plugin {name} cannot be used: another plugin has this name")
        self.registry.declaring_as(name)
        channels, senders = dict(self.channel_types.factories), dict(self.sender_types.factories)
        try:
            self._manager.register(plugin, name=name)
            self._manager.check_pending()
        # a plugin can raise anything from its hooks, SystemExit included; all of it means "this plugin cannot be used"
        except PLUGIN_FAULTS as error:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            self.registry.forget(name)
            self.channel_types.factories, self.sender_types.factories = channels, senders
            raise PluginError(f"plugin {name} cannot be used: {error}") from error
        self.channel_types.claim(name)
        self.sender_types.claim(name)
        if origin == BUILT_IN_ORIGIN:
            self.guards.built_in.add(name)
        else:
            self.guards.owners.add(name, plugin)
        callers = self._manager.get_hookcallers(plugin) or []
        hooks = tuple(sorted(caller.name for caller in callers))
        self._infos.append(PluginInfo(name, version, origin, hooks))

    def _load(self, entry_point: importlib.metadata.EntryPoint) -> None:
        distribution = entry_point.dist
        version = distribution.version if distribution else ""
        origin = f"{distribution.name} {distribution.version}" if distribution else entry_point.value
        try:
            plugin: ModuleType = entry_point.load()
            self.register(plugin, entry_point.name, version, origin)
        # import runs a stranger's code: whatever it raises, even SystemExit, must not stop the others
        except PLUGIN_FAULTS as error:
            reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            log.error("plugin %s (%s) is left out: %s", entry_point.name, origin, reason)
            self._infos.append(PluginInfo(entry_point.name, version, origin, error=reason))


def build_registry() -> tuple[Registry, frozenset[str]]:
    """The settings that the installed plugins know, and the schemes they can listen on."""
    plugins = Plugins()
    return plugins.registry, plugins.schemes
