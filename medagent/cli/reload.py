"""`medagent reload`."""

from __future__ import annotations

from typing import Annotated

import typer

from medagent.admin import call
from medagent.cli.output import Format, print_json
from medagent.cli.state import StateDir, state_dir_or_default

SECONDS = 120.0
"""The server may take long to give the resources."""


def register(app: typer.Typer) -> None:
    app.command("reload")(reload)


def reload(
    state_dir: StateDir = None,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Have the running agent read its configuration again, and say what has changed or why nothing has.

    Faulty settings and parameters that have given way to their defaults are listed with a `!`.

    Exits with 69 if no agent runs on this state folder, and with 1 if the new configuration cannot be used; the agent then
    goes on with the old one.

    Example: medagent reload
    """
    result = call(state_dir_or_default(state_dir), "reload", timeout=SECONDS)
    if output is Format.JSON:
        print_json(result)
    elif result["problems"]:
        typer.echo("nothing has changed:", err=True)
        for problem in result["problems"]:
            typer.echo(f"  - {problem}", err=True)
    else:
        typer.echo(f"in force: {result['changes']}")
        for fault in result["faults"]:
            typer.echo(f"  ! {fault}", err=True)
    if result["problems"]:
        raise typer.Exit(1)
