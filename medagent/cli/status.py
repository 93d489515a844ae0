"""`medagent status`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from medagent.cli import queue
from medagent.cli.output import Format, print_json, table
from medagent.cli.state import StateDir, ask_or_read, state_dir_or_default
from medagent.errors import NotReady

FAULTS_WIDTH = 100
"""Columns of the table of faults, in a pipe too: they tell of files."""


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    state_dir: StateDir = None,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Show how the running agent is: its channels, its connection to the server, its queue.

    Exits with 69 if no agent runs on this state folder.
    """
    folder = state_dir_or_default(state_dir)

    def nobody() -> Any:
        raise NotReady(f"no agent runs in {folder}: is this its --state-dir?")

    report = ask_or_read(folder, "status", nobody)
    if output is Format.JSON:
        print_json(report)
        return
    agent = report.get("agent", {})
    typer.echo(f"medagent {report['version']}, process {report['pid']}, up {report['uptime_seconds']} s: {report['state']}")
    for reason in report["reasons"]:
        typer.echo(f"  ! {reason}")
    if agent:
        typer.echo(f"Agent {agent['name']} ({agent['id'] or 'without an id'}), status {agent['status']}")
    if uplink := report.get("uplink"):
        typer.echo(f"Server {report['server']}: {uplink['state']}")
    elif not report["server"]:
        typer.echo("Server: none given; messages are kept")
    if report["channels"]:
        rows = [[c["name"], c["state"], c["address"], c["connections"]] for c in report["channels"]]
        table("Channels", ["name", "state", "address", "connections"], rows)
        noted = [[c["name"], kind, count] for c in report["channels"] for kind, count in c["notices"].items()]
        if noted:
            table("Noted about devices since the agent's start", ["channel", "what", "times"], noted)
    if faults := report["plugin_faults"]:
        rows = [[f["plugin"], f["where"], f["faults"], f["seconds_left"] or None, f["last_fault"]] for f in faults]
        columns = ["plugin", "where", "faults", "stopped for, s", "last fault"]
        table("Faults of plugins since the agent's start", columns, rows, width=FAULTS_WIDTH)
    queue.show(report["queue"])
