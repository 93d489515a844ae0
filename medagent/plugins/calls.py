"""Calling the hooks of all plugins, each under its guard: one plugin's fault is its own.

pluggy's own call ends at the first exception, which would make one plugin's fault everybody's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pluggy

from medagent import hookspecs
from medagent.clock import Clock
from medagent.errors import AuthenticationFailed, BrokenPromise, ConfigError, NotReady, PluginError
from medagent.guard import Guard, Guards, a_value

WITHOUT_IT = "the agent goes on without it"
"""What follows from a fault of a hook of the agent's life, until the hook goes well."""
LIFE_SECONDS = 3.0
"""What a plugin may take in a hook of the agent's life: at start, stop and reload."""
LOAD_SECONDS = 120.0
"""What it may take to load the Agent."""
REQUEST_SECONDS = 90.0
"""What it may take to serve a request of the server: a device may take 55 of them."""

_REFUSALS = (NotReady, AuthenticationFailed, ConfigError)
"""What a plugin that loads the Agent may raise."""


class HookCalls:
    """Calls hooks. Plugins that are built in have no limit of time."""

    def __init__(self, clock: Clock = time) -> None:
        self._manager = pluggy.PluginManager("medagent")
        self._manager.add_hookspecs(hookspecs)
        self.guards = Guards(clock)

    def implements(self, hook: str) -> bool:
        """Whether any plugin implements the hook: if none does, its call can be spared."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    # here and below: arguments and results are those of the hook, see `medagent.hookspecs`
    def implementations(self, hook: str, **arguments: Any) -> Iterator[tuple[Guard, Callable[[], Any]]]:
        """Each plugin's implementation of a hook, to be called through its guard, in the order in which they are asked."""
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            values = (arguments[name] for name in implementation.argnames)
            yield self.guards.of(implementation.plugin_name, hook), partial(implementation.function, *values)

    def call_each(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Call every plugin's implementation; returns (plugin name, result). What fails, or is stopped, is left out."""
        return [(guard.plugin, result) for guard, result in self._results(hook, arguments)]

    def make(self, hook: str, protocol: type, **arguments: Any) -> tuple[str, Any] | None:
        """The first result that is not None, with the name of its plugin, or None; after one that fails, the next is asked.

        One that lacks a member of the protocol is a fault.
        """
        for guard, implementation in self.implementations(hook, **arguments):
            made = guard.call("", _conforming_result, implementation, protocol, otherwise=None)
            if made is not None:
                return guard.plugin, made
        return None

    def _results(self, hook: str, arguments: dict[str, Any]) -> Iterator[tuple[Guard, Any]]:
        for guard, implementation in self.implementations(hook, **arguments):
            try:
                result = guard.attempt("", implementation)
            except Exception:  # noqa: BLE001, S112  the guard has counted and logged it
                continue
            yield guard, result

    async def await_each(self, hook: str, **arguments: Any) -> None:
        """Call a hook of the agent's life of every plugin, one after the other."""
        for guard, implementation in self.implementations(hook, **arguments):
            try:
                await guard.wait("", implementation, seconds=self._limit(guard, LIFE_SECONDS))
            except Exception:  # noqa: BLE001  as above
                guard.lasting = WITHOUT_IT
            else:
                guard.lasting = ""

    async def served(self, hook: str, **arguments: Any) -> bool:
        """Ask one plugin after the other until one returns a true value; after one that fails, the next is asked."""
        for guard, implementation in self.implementations(hook, **arguments):
            try:
                if await guard.wait("", implementation, seconds=self._limit(guard, REQUEST_SECONDS)):
                    return True
            except Exception:  # noqa: BLE001, S112  as above
                continue
        return False

    async def load(self, hook: str, kind: type, **arguments: Any) -> Any:
        """The first result that is not None, or None. Raises what a plugin raises: where it does, nobody else is asked."""
        for guard, implementation in self.implementations(hook, **arguments):
            result = await guard.wait("", implementation, seconds=self._limit(guard, LOAD_SECONDS), expected=_REFUSALS)
            if result is not None and not isinstance(result, kind):
                guard.fault("", f"it gives no {kind.__name__}")
                raise PluginError(f"plugin {guard.plugin} gives no {kind.__name__} in {hook}")
            if result is not None:
                return result
        return None

    def _limit(self, guard: Guard, seconds: float) -> float | None:
        return None if guard.plugin in self.guards.built_in else seconds


def _conforming_result(implementation: Callable[[], Any], protocol: type) -> Any:
    return conforming(implementation(), protocol)


# the object is a plugin's
def conforming(made: Any, protocol: type) -> Any:
    """What a plugin has made, if it is None or has all members of the protocol. Raises `BrokenPromise`."""
    if a_value(made) is None:
        return None
    wanted = {name for name in (*vars(protocol), *vars(protocol).get("__annotations__", ())) if not name.startswith("_")}
    missing = sorted(name for name in wanted if not hasattr(type(made), name) and name not in getattr(made, "__dict__", ()))
    if missing:
        raise BrokenPromise(f"it is no {protocol.__name__}: it lacks {', '.join(missing)}")
    return made
