"""`medagent plugins new`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medagent.cli import loading
from medagent.errors import ConfigError
from medagent.scaffold import Kind, Names, write


def new(
    name: Annotated[str, typer.Argument(help="What the plugin is called, such as ward-monitor.")],
    kind: Annotated[Kind, typer.Option(help="What it adds to medagent.")],
    directory: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
) -> None:
    """Write a new plugin: a small distribution that installs, passes its tests and runs, to be changed."""
    try:
        names = Names.of(name)
        plugins = loading.load_plugins()
        names.refuse_taken(frozenset(info.name for info in plugins.infos), plugins.schemes)
        folder = write(kind, names, directory)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(
            f"nothing can be written to {directory}: {error.strerror}", param_hint="--directory"
        ) from error
    typer.echo(f"{folder} is a plugin of the kind {kind.value}. Next:")
    typer.echo(f'  pip install -e "{folder}[test]"')
    typer.echo("  medagent plugins")
    typer.echo(f"  pytest {folder}")
    typer.echo(f"Then change {folder / names.module / 'plugin.py'}; {folder / 'README.md'} says how to configure it.")
