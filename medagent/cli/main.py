"""The command `medagent`."""

from __future__ import annotations

import sys

import typer

from medagent import __version__
from medagent.cli import check, plugins, queue, run, status
from medagent.errors import MedagentError
from medagent.plugins import Plugins

COMMANDS = (run, check, status, queue, plugins)


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
    Plugins().call_each("medagent_register_commands", app=app)
    return app


def main() -> None:
    """Run the command line; medagent's own errors become one line and an exit code."""
    try:
        make_app()()
    except MedagentError as error:
        typer.echo(f"medagent: {error}", err=True)
        sys.exit(error.exit_code)
