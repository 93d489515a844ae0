"""The commands that this plugin adds to `medagent`."""

from __future__ import annotations

import typer

from medagent_hl7.commands import demo, loadtest, send


def register(app: typer.Typer) -> None:
    """Add `send`, `loadtest` and `demo`."""
    for command in (send, loadtest, demo):
        command.register(app)
