"""`medagent settings`: every setting and address parameter that the installed plugins declare."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from medagent.cli import loading, options
from medagent.cli.output import Format, print_json
from medagent.config.reference import default_text, help_text, parameters_of, settings_of
from medagent.config.schema import make_schema
from medagent.config.settings import Parameter, Setting, nearest

WIDEST = 100
"""Characters in a line at most: longer ones are hard to read."""
_TYPES = {bool: "boolean", int: "integer", float: "decimal", str: "string"}


def register(app: typer.Typer) -> None:
    app.command("settings")(settings)


def settings(
    name: Annotated[str, typer.Argument(help="Show those whose name contains this, in any case.")] = "",
    scheme: Annotated[str, typer.Option(help="Show the address parameters of this URL scheme only.")] = "",
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
    schema: Annotated[bool, typer.Option("--schema", help="Print all of them as a JSON Schema, for editors.")] = False,
    block_plugins: options.BlockPlugins = None,
    allow_plugins: options.AllowPlugins = None,
    load_plugins: options.LoadPlugins = None,
    strict_plugins: options.StrictPlugins = None,
) -> None:
    """List the Agent's settings and the channels' address parameters, those of plugins included.

    Example: medagent settings batch
    """
    chosen = options.of_plugins(block_plugins, allow_plugins, load_plugins, strict_plugins)
    plugins = loading.load_plugins(chosen)
    loading.refuse_left_out(chosen, plugins)
    registry = plugins.registry
    if schema:
        if name or scheme:
            raise typer.BadParameter("it is a schema of everything: leave the name and --scheme out", param_hint="--schema")
        print_json(make_schema(registry))
        return
    all_parameters = parameters_of(registry)
    schemes = sorted({each for item in all_parameters for each in item.schemes})
    if scheme and scheme not in schemes:
        raise typer.BadParameter(
            f"no parameter is declared for {scheme!r} (there is: {', '.join(schemes)})", param_hint="--scheme"
        )
    known_settings = [] if scheme else settings_of(registry)
    known_parameters = [item for item in all_parameters if not scheme or scheme in item.schemes]
    found_settings = [item for item in known_settings if name.lower() in item.name.lower()]
    found_parameters = [item for item in known_parameters if name.lower() in item.name.lower()]
    if output is Format.JSON:
        print_json({"settings": list(map(_describe, found_settings)), "parameters": list(map(_describe, found_parameters))})
    elif found_settings or found_parameters:
        color = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
        for line in _lines(found_settings, found_parameters):
            typer.echo(line, color=color)
    if not (found_settings or found_parameters):
        guess = nearest(name, [*(item.name for item in known_settings), *(item.name for item in known_parameters)])
        typer.echo(f"medagent: nothing has {name!r} in its name" + (f"; did you mean {guess}?" if guess else ""), err=True)
        sys.exit(1)


# plain JSON
def _describe(item: Setting | Parameter) -> dict[str, Any]:
    place: dict[str, Any]
    if isinstance(item, Setting):
        place = {"element": item.field}
    else:
        place = {"schemes": item.schemes, "live": item.live, "guards": item.guards}
    return {
        "name": item.name,
        **place,
        "type": _TYPES[item.type],
        "default": item.default,
        "minimum": item.minimum,
        "maximum": item.maximum,
        "choices": item.choices,
        "allowed": item.allowed,
        "help": help_text(item),
        "declared_by": item.declared_by,
        "effective": item.effective,
    }


def _lines(found_settings: Sequence[Setting], found_parameters: Sequence[Parameter]) -> Iterator[str]:
    if found_settings:
        yield from _heading("Settings of the Agent", "Agent.setting")
        for setting in found_settings:
            yield from _entry(setting, f"{setting.field}, {setting.allowed}")
    if found_parameters:
        yield from _heading("Parameters of a channel's address", "Endpoint.address")
        for parameter in found_parameters:
            yield from _entry(parameter, f"{', '.join(parameter.schemes)}: {parameter.allowed}")


def _heading(text: str, element: str) -> Iterator[str]:
    yield f"{typer.style(text, bold=True)} ({element})"
    yield ""


def _entry(item: Setting | Parameter, facts: str) -> Iterator[str]:
    """Name and default, what it does, and the rest."""
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    default = default_text(item)
    yield typer.style(item.name, fg="cyan") + (f" = {default}" if default else "  (unset)")
    rest = [facts, f"declared by {item.declared_by}"]
    if not item.effective:
        rest.append("without effect")
    if isinstance(item, Parameter):
        if not item.live:
            rest.append("a change starts the channel again")
        if item.guards:
            rest.append("a mistake keeps the channel from listening")
    yield from _wrapped(help_text(item), width)
    yield from (typer.style(line, dim=True) for line in _wrapped("; ".join(rest), width))
    yield ""


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
