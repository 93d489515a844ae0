"""The plugins of one agent: the built-in ones, and those that installed distributions offer by entry point.

Every agent has a manager of its own, so two agents in one process never meet. A plugin that cannot be loaded is listed with
the reason and harms no other.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from medagent import __version__
from medagent.channel import ChannelFactory
from medagent.clock import Clock
from medagent.config.plugin_options import PluginOptions
from medagent.config.settings import Registry
from medagent.errors import PLUGIN_FAULTS, PluginError
from medagent.plugins import time_limit
from medagent.plugins.calls import HookCalls
from medagent.plugins.choice import choose
from medagent.plugins.deprecation import deprecations_logged
from medagent.plugins.discovery import Candidate, find_candidates
from medagent.plugins.implementations import check_implementations, refuse_result
from medagent.plugins.importing import all_or_nothing, import_object
from medagent.plugins.info import PluginInfo, State
from medagent.plugins.loading import load, reason_of
from medagent.plugins.marker import ImportMarker
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
NO_OPTIONS = PluginOptions()


class Plugins(HookCalls):
    """Loads plugins and holds what they registered."""

    def __init__(
        self,
        options: PluginOptions = NO_OPTIONS,
        *,
        entry_points: bool = True,
        state_dir: Path | None = None,
        mark: bool = False,
        clock: Clock = time,
    ) -> None:
        """`entry_points` False: only the built-in ones. `state_dir` may hold the marker of a start that an import has ended;
        with `mark` this one leaves its own (`medagent.plugins.marker`)."""
        super().__init__(clock)
        self.registry = Registry()
        self.channel_types: Schemes[ChannelFactory] = Schemes()
        self.sender_types: Schemes[SenderFactory] = Schemes()
        # historic: each plugin's implementation runs as it is registered, so its faults are its own
        for hook, arguments in {
            "medagent_register_settings": {"registry": self.registry},
            "medagent_register_channel_types": {"register": self.channel_types.register},
            "medagent_register_sender_types": {"register": self.sender_types.register},
        }.items():
            getattr(self._manager.hook, hook).call_historic(partial(refuse_result, hook), kwargs=arguments)
        self._infos: list[PluginInfo] = []
        for module in BUILT_IN:
            self.register(importlib.import_module(module), module.split(".")[1], __version__, BUILT_IN_ORIGIN)
        if entry_points:
            self._load_installed(options, ImportMarker(state_dir), mark)

    @property
    def hook(self) -> Any:
        """pluggy's hook relay, whose attributes are made at run time: see `medagent.hookspecs` for their types."""
        return self._manager.hook

    @property
    def schemes(self) -> frozenset[str]:
        return frozenset(self.channel_types.factories)

    @property
    def infos(self) -> list[PluginInfo]:
        """All that are installed, those that are not loaded too."""
        return list(self._infos)

    @property
    def left_out(self) -> list[PluginInfo]:
        """Those that could not be loaded."""
        return [info for info in self._infos if info.state is State.LEFT_OUT]

    def register(self, plugin: object, name: str, version: str = "", origin: str = "") -> None:
        """Add a plugin object. Raises `PluginError`, and then has not added it."""
        try:
            self._add(lambda: plugin, name, version, origin)
        # a plugin can raise anything from its hooks, SystemExit included; all of it means "this plugin cannot be used"
        except PLUGIN_FAULTS as error:
            raise PluginError(f"plugin {name} cannot be used: {reason_of(error)}") from error

    def _add(self, make: Callable[[], object], name: str, version: str, origin: str, seconds: float | None = None) -> None:
        """Make a plugin object and register it, within `seconds`.

        Raises what the plugin raises, and `PluginError`; then nothing of it is registered.
        """
        if self._manager.has_plugin(name):
            taken_by = next(info.origin for info in self._infos if info.name == name and info.state is State.LOADED)
            raise PluginError(f"another plugin has this name ({taken_by or name})")
        self.registry.declaring_as(name)
        channels, senders = dict(self.channel_types.factories), dict(self.sender_types.factories)
        try:
            if seconds is None:
                self._register(make(), name)
            else:
                time_limit.within(seconds, lambda: self._register(make(), name))
        except BaseException:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            self.registry.forget(name)
            self.channel_types.factories, self.sender_types.factories = channels, senders
            raise
        self.channel_types.claim(name)
        self.sender_types.claim(name)
        plugin = self._manager.get_plugin(name)
        if origin == BUILT_IN_ORIGIN:
            self.guards.built_in.add(name)
        else:
            self.guards.owners.add(name, plugin)
        callers = self._manager.get_hookcallers(plugin) or []
        schemes = {*self.channel_types.factories} - channels.keys() | {*self.sender_types.factories} - senders.keys()
        self._infos.append(
            PluginInfo(
                name,
                version,
                origin,
                tuple(sorted(caller.name for caller in callers)),
                schemes=tuple(sorted(schemes)),
                settings=tuple(each.name for each in self.registry.settings() if each.declared_by == name),
                parameters=tuple(sorted({each.name for each in self.registry.all_parameters() if each.declared_by == name})),
            )
        )

    def _register(self, plugin: object, name: str) -> None:
        check_implementations(self._manager, plugin)
        with deprecations_logged(name):
            self._manager.register(plugin, name=name)

    def _load_installed(self, options: PluginOptions, marker: ImportMarker, mark: bool) -> None:
        choice = choose(find_candidates(), options, [info.name for info in self._infos])
        for warning in choice.warnings:
            log.warning("%s", warning)
        for candidate, reason in load(choice.chosen, self._import, marker, mark=mark):
            self._infos.append(_info(candidate, State.LEFT_OUT, reason))
        self._infos += [_info(candidate, state) for candidate, state in choice.passed_over]

    def _import(self, candidate: Candidate) -> None:
        make = partial(import_object, candidate.value)
        # what a plugin prints must not get into a command's output
        with all_or_nothing(candidate.value), contextlib.redirect_stdout(sys.stderr):
            self._add(make, candidate.name, candidate.version, candidate.origin, time_limit.IMPORT_SECONDS)


def _info(candidate: Candidate, state: State, error: str = "") -> PluginInfo:
    return PluginInfo(candidate.name, candidate.version, candidate.origin, error=error, state=state)


def build_registry() -> tuple[Registry, frozenset[str]]:
    """The settings that the installed plugins know, and the schemes they can listen on."""
    plugins = Plugins()
    return plugins.registry, plugins.schemes
