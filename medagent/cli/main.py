"""The command `medagent`."""

from __future__ import annotations

import sys

import typer
from typer.models import CommandInfo, TyperInfo

from medagent import __version__
from medagent.cli import channel, check, config, plugins, queue, reload, run, settings, status
from medagent.errors import MedagentError
from medagent.plugins import Plugins

COMMANDS = (run, config, check, reload, status, queue, channel, settings, plugins)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medagent {__version__}")
        raise typer.Exit


def make_app() -> typer.Typer:
    """The command line with everybody's commands, installed plugins' included."""
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

    for command in COMMANDS:
        command.register(app)
    commands, groups = len(app.registered_commands), len(app.registered_groups)
    Plugins().call_each("medagent_register_commands", app=app)
    app.registered_commands[commands:] = [
        command for command in app.registered_commands[commands:] if _can_be_built(typer.Typer(), command)
    ]
    app.registered_groups[groups:] = [group for group in app.registered_groups[groups:] if _can_be_built(typer.Typer(), group)]
    return app


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
        make_app()()
    except MedagentError as error:
        typer.echo(f"medagent: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # such as a full disk under the standard output
        typer.echo(f"medagent: {error.strerror or error}", err=True)
        sys.exit(1)
