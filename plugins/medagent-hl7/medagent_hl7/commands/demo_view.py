"""How the demo tells what it does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import typer

from medagent.cli import queue
from medagent.cli.output import table
from medagent.testing.resources import AGENT_ID
from medagent_hl7.commands.demo_site import CHANNEL, CLIENT_ID, ENDPOINT_ID, SETTINGS, DemoSite
from medagent_hl7.commands.ledger import Latency, latency
from medagent_hl7.commands.load_report import print_latencies
from medagent_hl7.commands.sending import Outcome, milliseconds, type_of
from medagent_hl7.message import Header, Hl7Error, msa
from medagent_hl7.owed import COMMIT_CODES

MAX_ROWS = 24
"""Messages shown one by one."""
FEED_INTERVAL = 0.5
"""Seconds between two looks of the live feed."""
MAX_LINES = 12
"""Of the live feed, each time."""


def print_site(site: DemoSite) -> None:
    """Say what is running where."""
    settings = ", ".join(f"{name} {json.dumps(value)}" for name, value in SETTINGS.items())
    typer.echo("Everything runs on this machine, reachable from it alone:\n")
    typer.echo(f"  FHIR server   {site.server.base_url} (embedded)")
    typer.echo(f"  agent         process {site.agent_pid}, configured by the server's Agent/{AGENT_ID}")
    typer.echo(f"                with {settings}")
    typer.echo(f"  channel       {CHANNEL}, mllp://{site.target}, enhanced mode: CA when on disk, then the server's answer")
    typer.echo(f"  state folder  {site.state_dir}: queue and log, deleted at the end\n")


@contextmanager
def spinner(what: str) -> Iterator[None]:
    """Show on standard error that something takes a moment; nothing if that is no terminal."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


def print_messages(outcomes: Sequence[Outcome]) -> None:
    """Print a table of messages, the first `MAX_ROWS`, and every one that failed."""
    shown = [outcome for index, outcome in enumerate(outcomes) if index < MAX_ROWS or not outcome.ok]
    rows = [
        (
            outcome.name,
            outcome.message_type,
            outcome.control_id,
            " ".join(outcome.codes) or "none",
            *(_first(outcome, commit=commit) for commit in (True, False)),
        )
        for outcome in shown
    ]
    columns = ("message", "type", "control ID", "answers", "commit", "application")
    table("Messages sent, milliseconds to their acknowledgments", columns, rows)
    if len(shown) < len(outcomes):
        typer.echo(f"... and {len(outcomes) - len(shown):,} more, answered alike\n")
    for outcome in shown:
        if outcome.failure:
            typer.echo(f"{outcome.control_id}: {outcome.failure}")


def _first(outcome: Outcome, *, commit: bool) -> float | None:
    seconds = (answer.seconds for answer in outcome.answers if (answer.code in COMMIT_CODES) is commit)
    return next(map(milliseconds, seconds), None)


def latencies(outcomes: Sequence[Outcome]) -> dict[str, Latency | None]:
    """Of the commit and of the application acknowledgments."""
    answers = [answer for outcome in outcomes for answer in outcome.answers]
    return {
        "commit": latency(answer.seconds for answer in answers if answer.code in COMMIT_CODES),
        "application": latency(answer.seconds for answer in answers if answer.code not in COMMIT_CODES),
    }


# here and below, the report is decoded JSON, nested by kind
def print_figures(outcomes: Sequence[Outcome], report: Any) -> None:
    """Print the latencies as the sender saw them, and the agent's queue."""
    print_latencies("milliseconds", latencies(outcomes))
    queue.show(report)


def as_json(outcomes: Sequence[Outcome], report: Any) -> dict[str, object]:
    """What the demo found: messages, latencies and the queue's figures (see `medagent queue stats --format json`)."""
    measured = {name: asdict(figures) if figures else None for name, figures in latencies(outcomes).items()}
    return {"messages": [outcome.as_json() for outcome in outcomes], "latencies_ms": measured, "queue": report}


def print_invitation(site: DemoSite) -> None:
    """Say how to go on."""
    typer.echo("The demo stays up. From another terminal, send it more:\n")
    typer.echo(f"  medagent send {site.target} file.hl7")
    typer.echo(f"  medagent loadtest {site.target} --rate 100 --count 1000")
    typer.echo(f"  medagent status --state-dir {site.state_dir}\n")
    _print_editing(site)
    typer.echo("What the server answers shows up here. Ctrl-C stops everything.\n")


def _print_editing(site: DemoSite) -> None:
    """Say how to change what the server has, with nothing but curl."""
    fhir = f"{site.server.base_url}fhir/R4"
    typer.echo("Or change what its server has, such as where the channel listens, and have it reloaded:\n")
    typer.echo(f"  TOKEN={site.server.tokens.issue()}    # for an hour")
    typer.echo(f'  curl -s -H "Authorization: Bearer $TOKEN" {fhir}/Endpoint/{ENDPOINT_ID} > endpoint.json')
    typer.echo(
        f'  curl -s -H "Authorization: Bearer $TOKEN" -T endpoint.json {fhir}/Endpoint/{ENDPOINT_ID}    # once it is edited'
    )
    typer.echo(f"  curl -s -H \"Authorization: Bearer $TOKEN\" '{fhir}/Agent/{AGENT_ID}/$reload-config'\n")
    typer.echo("With these options and a state folder of its own, an agent of yours uses that server too:\n")
    typer.echo(
        f"  --base-url {site.server.base_url} --client-id {CLIENT_ID} --client-secret {site.secret} --agent-id {AGENT_ID}\n"
    )


class LiveFeed:
    """Shows each message that the server has answered: time, type, control ID and code, never content."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._hidden = 0

    # JSON frames of the agent protocol, checked only where they are read
    def answered(self, frame: dict[str, Any], response: dict[str, Any]) -> None:
        """Take a transmit request and its response; returns at once."""
        if len(self._lines) == MAX_LINES:
            self._hidden += 1
            return
        try:
            header = Header.parse(str(frame.get("body", "")).encode())
            what = f"{type_of(header):9} {header.control_id:20}"
        except Hl7Error:
            what = "a message that is not HL7"
        found = msa(str(response.get("body", "")))
        answer = found[0] if found else f"status {response.get('statusCode')}"
        self._lines.append(f"{time.strftime('%H:%M:%S')}  {what}  {answer}")

    async def show(self) -> None:
        """Print what comes, until cancelled."""
        while True:
            await asyncio.sleep(FEED_INTERVAL)
            for line in self._lines:
                typer.echo(line)
            if self._hidden:
                typer.echo(f"          ... and {self._hidden:,} more")
            self._lines, self._hidden = [], 0
