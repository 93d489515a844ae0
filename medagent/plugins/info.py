"""What is known of a plugin: one line of `medagent plugins`."""

from __future__ import annotations

import enum
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
