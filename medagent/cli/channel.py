"""`medagent channel`: what an operator does to a channel of a running agent."""

from __future__ import annotations

from typing import Annotated

import typer

from medagent.admin import call
from medagent.cli.state import StateDir, state_dir_or_default


def register(app: typer.Typer) -> None:
    commands = typer.Typer(help="Act on a channel of the running agent.", no_args_is_help=True, rich_markup_mode=None)
    commands.callback()(_channel)
    commands.command("resync")(resync)
    app.add_typer(commands, name="channel")


MOST = 999_999_999_999_999_999
"""The queue file holds it, and the number after it."""


def _channel() -> None:
    """Make `resync` a subcommand although it is the only one."""


def resync(
    name: Annotated[str, typer.Argument(help="The channel's name in the Agent.")],
    seq: Annotated[
        int | None,
        typer.Option("--seq", min=1, max=MOST, help="The number that is expected next; without it any number is taken."),
    ] = None,
    link: Annotated[
        str, typer.Option("--link", help="Only this link, by its key in `medagent status`; without it all that are frozen.")
    ] = "",
    state_dir: StateDir = None,
) -> None:
    """Release the links of a channel that an unexpected sequence number has frozen.

    Exits with 69 if no agent runs on this state folder, and with 1 if there is nothing to release.

    Example: medagent channel resync lab --seq 1048
    """
    call(state_dir_or_default(state_dir), "resync", channel=name, seq=seq, link=link)
    following = "any sequence number is taken next" if seq is None else f"sequence number {seq} is expected next"
    typer.echo(f"channel {name}: released; {following}")
