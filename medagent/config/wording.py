"""How problems show what was found and what is used instead, printable on any terminal."""

from __future__ import annotations

from collections.abc import Iterable

from medagent.config.model import Value
from medagent.config.problems import Problem
from medagent.printable import printable

__all__ = ["show"]

_MAX_DIGITS = 10**30


def show(value: object) -> str:
    """`value`, decoded JSON, as the reader would find it, never long."""
    if isinstance(value, str):
        return f'"{printable(value)}"'
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


def from_findings(where: str, findings: Iterable[tuple[str, str]]) -> list[Problem]:
    """Problems from (path below `where`, message) pairs."""
    return [
        Problem(
            f"{where}.{printable(path, 200)}" if path else where,
            printable(text, 200),
            "active" if path == "status" else "",  # of Agent and Endpoint; nothing else has an element of this name
        )
        for path, text in findings
    ]
