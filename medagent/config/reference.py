"""The tables of docs/settings.md, from what is declared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medagent.config.settings import Parameter, Registry, Setting

MARKERS = ("<!-- generated: {name} -->", "<!-- end: {name} -->")


def settings_table(registry: Registry) -> str:
    """Every Agent.setting, those with effect first."""
    items = sorted(registry.settings(), key=lambda item: (not item.effective, item.name.lower()))
    rows = [(f"`{item.name}`", f"`{item.field}`", _default(item), _allowed(item), _help(item), _effect(item)) for item in items]
    return _table(("Setting", "Element", "Default", "Allowed", "Meaning", "Effect"), rows)


def parameters_table(registry: Registry) -> str:
    """Every parameter of Endpoint.address, those with effect first."""
    items = sorted(registry.all_parameters(), key=lambda item: (not item.effective, item.name.lower()))
    rows = [
        (f"`{item.name}`", ", ".join(item.schemes), _default(item), _allowed(item), _help(item), _change(item), _effect(item))
        for item in items
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
    if item.default is None:
        return "unset"
    return f"`{str(item.default).lower() if isinstance(item.default, bool) else item.default}`"


def _allowed(item: Setting | Parameter) -> str:
    return ", ".join(f"`{choice}`" for choice in item.choices) or item.allowed


def _help(item: Setting | Parameter) -> str:
    text = item.help.rstrip(".")
    return text[:1].upper() + text[1:] + "."


def _effect(item: Setting | Parameter) -> str:
    return "yes" if item.effective else "not yet"


def _change(item: Parameter) -> str:
    return "live" if item.live else "restart"
