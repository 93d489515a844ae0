"""How problems show what was found and what is used instead."""

from __future__ import annotations

from medagent.config.model import Value

MAX_SHOWN = 60
"""Characters of a found text that are shown."""
_MAX_DIGITS = 10**30


def show(value: object) -> str:
    """A decoded JSON value as the reader would find it; never long, and safe to print on any terminal."""
    if isinstance(value, str):
        printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value[: MAX_SHOWN + 1])
        return f'"{printable[:MAX_SHOWN]}…"' if len(value) > MAX_SHOWN else f'"{printable}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value) if abs(value) < _MAX_DIGITS else "a huge number"
    return "a list" if isinstance(value, list) else "an object"


def default_used(default: Value | None) -> str:
    """What `Problem.used` says when a default applies."""
    if default is None:
        return "no value"
    return f"the default, {default if isinstance(default, str) else show(default)}"
