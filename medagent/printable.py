"""Texts of others in logs and messages: printable on any terminal, and never long."""

from __future__ import annotations

MAX_SHOWN = 60
"""Characters of a found text that are shown."""


def printable(text: str, limit: int | None = MAX_SHOWN) -> str:
    """`text` without control characters, cut to `limit` characters if there is a limit."""
    cut = text if limit is None or len(text) <= limit else text[:limit] + "…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut)
