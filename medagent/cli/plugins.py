"""`medagent plugins`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from medagent.cli import loading, options
from medagent.cli.new_plugin import new
from medagent.cli.output import Format, print_json, table
from medagent.cli.state import StateDir
from medagent.plugins.info import PluginInfo, State


def register(app: typer.Typer) -> None:
    group = typer.Typer()
    group.callback(invoke_without_command=True)(plugins)
    group.command("new")(new)
    app.add_typer(group, name="plugins")


def plugins(
    context: typer.Context,
    block_plugins: options.BlockPlugins = None,
    allow_plugins: options.AllowPlugins = None,
    load_plugins: options.LoadPlugins = None,
    strict_plugins: options.StrictPlugins = None,
    state_dir: StateDir = None,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """List the plugins: whether each is loaded, where it comes from, what it brings, or why it is left out.

    With --strict-plugins exits 78 if one cannot be loaded.
    """
    if context.invoked_subcommand is not None:
        return
    chosen = options.of_plugins(block_plugins, allow_plugins, load_plugins, strict_plugins)
    loaded = loading.load_plugins(chosen, state_dir=state_dir)
    if output is Format.JSON:
        print_json([asdict(info) for info in loaded.infos])
    else:
        rows = [[info.name, info.state, info.version, _origin(info), _details(info)] for info in loaded.infos]
        table("Plugins", ["name", "state", "version", "from", "details"], rows)
    loading.refuse_left_out(chosen, loaded)


def _origin(info: PluginInfo) -> str:
    """Without the version, which has a column of its own."""
    return info.origin.removesuffix(f" {info.version}")


def _details(info: PluginInfo) -> str:
    """What it brings, or why it is left out."""
    return info.error or "; ".join(_brings(info))


def _brings(info: PluginInfo) -> Iterator[str]:
    if info.schemes:
        yield f"schemes {', '.join(info.schemes)}"
    for what, declared in (("setting", info.settings), ("parameter", info.parameters)):
        if declared:
            yield f"{len(declared)} {what}{'s' if len(declared) > 1 else ''}"
    hooks = [hook.removeprefix("medagent_") for hook in info.hooks if not hook.startswith("medagent_register_")]
    if "medagent_register_commands" in info.hooks:
        yield "commands"
    if hooks:
        yield ", ".join(hooks)
    if info.state is State.LOADED and not info.hooks:
        yield "nothing: no function is marked with hookimpl"
