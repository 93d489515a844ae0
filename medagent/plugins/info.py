"""What is known of a plugin: one line of `medagent plugins`."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class State(enum.StrEnum):
    """What became of a plugin."""

    LOADED = "loaded"
    LEFT_OUT = "left out"
    """It could not be loaded."""
    BLOCKED = "blocked"
    """The options block it: it was not imported."""
    NOT_ALLOWED = "not allowed"
    """The options name those that are allowed, and not this one: it was not imported."""


def strict_fault(left_out: Sequence[PluginInfo]) -> str:
    """What to say where all plugins are wanted: which could not be loaded, and what to do."""
    lines = [f"  - {info.name} ({info.origin}): {info.error}" for info in left_out]
    block = " ".join(f"--block-plugins {info.name}" for info in left_out)
    return "\n".join(
        ["strictPlugins is on, and not every plugin can be loaded:", *lines, f"Mend or uninstall it, or do without it: {block}"]
    )


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin."""

    name: str
    version: str
    origin: str
    """`built in`, the distribution it comes from, or the module that the options name."""
    hooks: tuple[str, ...] = ()
    error: str = ""
    """Why it could not be loaded."""
    state: State = State.LOADED
    schemes: tuple[str, ...] = ()
    """URL schemes that it listens on, or sends to."""
    settings: tuple[str, ...] = ()
    """Agent settings that it declares."""
    parameters: tuple[str, ...] = ()
    """Address parameters that it declares."""
