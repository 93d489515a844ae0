"""The command `medagent`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from functools import partial

import typer
from typer.models import CommandInfo, TyperInfo

from medagent import __version__
from medagent.errors import ConfigError, MedagentError, PluginTimeout

COMMANDS = ("run", "config", "check", "reload", "status", "queue", "channel", "settings", "plugins")
"""Each by its name, which is also that of its module."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medagent {__version__}")
        raise typer.Exit


def make_app(arguments: Sequence[str] = ()) -> typer.Typer:
    """The command line with everybody's commands; if the arguments name one of medagent's own, with that one alone."""
    app = typer.Typer(
        name="medagent",
        help="The FHIR-configured agent for hospital messages.\n\n"
        "Try it: medagent demo. Check a configuration: medagent check agent.json. Run it: medagent run --help.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: bool = typer.Option(False, "--version", help="Print the version and exit.", callback=_version, is_eager=True),
    ) -> None: ...

    named = [name for name in COMMANDS if name in arguments[:1]]
    for name in named or COMMANDS:
        importlib.import_module(f"medagent.cli.{name}").register(app)  # what others need is not imported
    if not named and arguments[:1] != ["--version"]:
        _add_commands_of_plugins(app, COMMANDS)
    return app


def _name(added: CommandInfo | TyperInfo) -> str:
    """What it is called by."""
    if added.name:
        return str(added.name)
    return typer.main.get_command_name(added.callback.__name__) if added.callback is not None else ""


def _add_commands_of_plugins(app: typer.Typer, own: Collection[str]) -> None:
    # medagent's own commands do not need them
    from medagent.cli.loading import load_plugins
    from medagent.plugins.time_limit import IMPORT_SECONDS, within

    try:
        plugins = load_plugins()
    except ConfigError as error:
        typer.echo(f"medagent: plugins' commands are left out: {error}", err=True)
        return
    commands, groups = len(app.registered_commands), len(app.registered_groups)
    try:
        within(IMPORT_SECONDS, partial(plugins.call_each, "medagent_register_commands", app=app))
    except PluginTimeout as error:
        typer.echo(f"medagent: some plugins' commands are left out: {error}", err=True)
    app.registered_commands[commands:] = [each for each in app.registered_commands[commands:] if _can_be_used(each, own)]
    app.registered_groups[groups:] = [each for each in app.registered_groups[groups:] if _can_be_used(each, own)]


def _can_be_used(added: CommandInfo | TyperInfo, own: Collection[str]) -> bool:
    if _name(added) in own:
        typer.echo(f"medagent: a plugin's command is left out: {_name(added)} is medagent's own", err=True)
        return False
    return _can_be_built(typer.Typer(), added)


def _can_be_built(app: typer.Typer, added: CommandInfo | TyperInfo) -> bool:
    """Whether Typer makes a command of what a plugin has added; one that it cannot make would end all the others."""
    if isinstance(added, CommandInfo):
        app.registered_commands.append(added)
    else:
        app.registered_groups.append(added)
    try:
        typer.main.get_command(app)
    # Typer raises what it comes upon in the plugin's function
    except Exception as error:  # noqa: BLE001  as said above
        typer.echo(f"medagent: a plugin's command is left out: {error}", err=True)
        return False
    return True


def main() -> None:
    """Run the command line; medagent's own errors become one line and an exit code."""
    try:
        make_app(sys.argv[1:])()
    except MedagentError as error:
        typer.echo(f"medagent: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        # such as a full disk under the standard output
        typer.echo(f"medagent: {error.strerror or error}", err=True)
        sys.exit(1)
