"""What a plugin's implementations of hooks must be like; a mistake is told before any of them runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pluggy

from medagent import hookspecs
from medagent.config.settings import nearest
from medagent.errors import PluginError

HOOKS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("medagent_")}


def check_implementations(manager: pluggy.PluginManager, plugin: object) -> None:
    """Raises `PluginError` for the first hook that does not exist, or is implemented in a way that cannot be called."""
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            continue
        hook = options.get("specname") or attribute
        spec = HOOKS.get(hook)
        if spec is None and options.get("optionalhook"):
            continue  # of another version of medagent
        if spec is None:
            guess = nearest(hook, HOOKS)
            raise PluginError(f"{hook} is no hook" + (f"; did you mean {guess}?" if guess else ""))
        if options.get("wrapper") or options.get("hookwrapper"):
            raise PluginError(f"{hook} wraps the implementations of others, which medagent does not offer")
        function = getattr(plugin, attribute)
        given = _required(spec)
        if unknown := [name for name in _required(function) if name not in given]:
            raise PluginError(f"{hook} has no argument {', '.join(unknown)}; it has {', '.join(given)}")
        if inspect.iscoroutinefunction(function) and not _is_awaited(spec):
            raise PluginError(f"{hook} is async def, and nobody waits for it: write it as def")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise PluginError(f"{hook} has a yield: it must return its result")


def _required(function: Callable[..., object]) -> list[str]:
    """Names of its arguments, but for those that it can do without."""
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]


def _is_awaited(spec: Callable[..., object]) -> bool:
    return "Awaitable" in str(inspect.signature(spec).return_annotation)


def refuse_result(hook: str, result: object) -> None:
    """For a hook that is given what to call. Raises `PluginError`."""
    if inspect.iscoroutine(result):
        result.close()
    raise PluginError(f"{hook} has returned a {type(result).__name__}: it must call what it is given, and return nothing")
