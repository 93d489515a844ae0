"""Which third-party plugins an agent loads, as its options say it."""

from __future__ import annotations

from dataclasses import dataclass

from medagent.config.options import Chosen

NONE = "none"
"""In `allow_plugins`: no third-party plugin at all."""


@dataclass(frozen=True, slots=True)
class PluginOptions:
    """Plugins are named by their entry points, or by the distributions they come from."""

    blocked: tuple[str, ...] = ()
    """Those that are not imported."""
    allowed: tuple[str, ...] | None = None
    """The only ones that are imported, besides `modules`; None for all."""
    modules: tuple[str, ...] = ()
    """Modules that are plugins although no entry point names them, such as `hospital.lab`."""
    strict: bool = False
    """`medagent run` ends if any of them cannot be loaded."""


def plugin_options(chosen: Chosen, faults: list[str]) -> PluginOptions:
    """From the sources; what cannot be used is added to `faults`."""
    modules = chosen.names("load_plugins")
    faults += [
        f"{chosen.origin('load_plugins')}: {module!r} is no name of a module, such as package.module"
        for module in modules
        if not all(part.isidentifier() for part in module.split("."))
    ]
    allowed = chosen.names("allow_plugins")
    return PluginOptions(
        blocked=chosen.names("block_plugins"),
        allowed=tuple(name for name in allowed if name != NONE) if allowed else None,
        modules=modules,
        strict=chosen.switch("strict_plugins"),
    )
