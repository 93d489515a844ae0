"""What is declared, in words: the order, the defaults and the rest as docs/settings.md and `medagent settings` show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from medagent.config.settings import Parameter, Registry, Setting

T = TypeVar("T", Setting, Parameter)

MARKERS = ("<!-- generated: {name} -->", "<!-- end: {name} -->")


def settings_of(registry: Registry) -> list[Setting]:
    """Every Agent.setting, those with effect first."""
    return _ordered(registry.settings())


def parameters_of(registry: Registry) -> list[Parameter]:
    """Every parameter of Endpoint.address, those with effect first."""
    return _ordered(registry.all_parameters())


def _ordered(items: Iterable[T]) -> list[T]:
    return sorted(items, key=lambda item: (not item.effective, item.name.lower()))


def default_text(item: Setting | Parameter) -> str:
    """The default as one would write it; "" if it is unset."""
    if item.default is None:
        return ""
    return str(item.default).lower() if isinstance(item.default, bool) else str(item.default)


def help_text(item: Setting | Parameter) -> str:
    """The help as a sentence."""
    text = item.help.rstrip(".")
    return text[:1].upper() + text[1:] + "."


def settings_table(registry: Registry) -> str:
    """Every Agent.setting, as Markdown."""
    rows = [
        (f"`{item.name}`", f"`{item.field}`", _default(item), _allowed(item), help_text(item), _effect(item))
        for item in settings_of(registry)
    ]
    return _table(("Setting", "Element", "Default", "Allowed", "Meaning", "Effect"), rows)


def parameters_table(registry: Registry) -> str:
    """Every parameter of Endpoint.address, as Markdown."""
    rows = [
        (
            f"`{item.name}`",
            ", ".join(item.schemes),
            _default(item),
            _allowed(item),
            help_text(item),
            "live" if item.live else "restart",
            _effect(item),
        )
        for item in parameters_of(registry)
    ]
    return _table(("Parameter", "Schemes", "Default", "Allowed", "Meaning", "Change", "Effect"), rows)


def with_tables(text: str, registry: Registry) -> str:
    """`text` with what stands between its markers made anew. Raises `ValueError` if a marker is missing."""
    for name, table in (("settings", settings_table(registry)), ("parameters", parameters_table(registry))):
        start, end = (marker.format(name=name) for marker in MARKERS)
        before, after = text.index(start) + len(start), text.index(end)
        text = f"{text[:before]}\n{table}\n{text[after:]}"
    return text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _default(item: Setting | Parameter) -> str:
    text = default_text(item)
    return f"`{text}`" if text else "unset"


def _allowed(item: Setting | Parameter) -> str:
    return ", ".join(f"`{choice}`" for choice in item.choices) or item.allowed


def _effect(item: Setting | Parameter) -> str:
    return "yes" if item.effective else "not yet"
