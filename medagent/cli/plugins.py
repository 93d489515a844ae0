"""`medagent plugins`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from medagent.cli.output import Format, print_json, table
from medagent.plugins import Plugins


def register(app: typer.Typer) -> None:
    app.command("plugins")(plugins)


def plugins(
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """List the plugins: name, version, hooks, and where each comes from."""
    infos = Plugins().infos
    if output is Format.JSON:
        print_json([asdict(info) for info in infos])
        return
    rows = [
        [info.name, info.version, info.origin, info.error or ", ".join(hook.removeprefix("medagent_") for hook in info.hooks)]
        for info in infos
    ]
    table("Plugins", ["name", "version", "origin", "hooks, or why it is left out"], rows)
