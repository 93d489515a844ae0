"""How a load test shows its progress and its result."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import typer

from medagent.cli.output import table
from medagent_hl7.client import Expect
from medagent_hl7.commands.ledger import Latency, Ledger, Result
from medagent_hl7.commands.load import Plan

REFRESH_INTERVAL = 0.2
"""Seconds between two looks of the progress bar."""


@dataclass(frozen=True, slots=True)
class Report:
    """A load test's result, with what was asked of it."""

    plan: Plan
    expect: Expect
    result: Result
    lost_connections: int
    stopped: bool
    """The user has ended the test early."""

    @property
    def unsent(self) -> int:
        """Messages of the plan that were not sent."""
        return self.plan.total - self.result.sent if self.plan.total is not None else 0

    @property
    def faults(self) -> list[str]:
        """What speaks against the receiver, in words."""
        result = self.result
        counts = {
            "missing": result.missing,
            "wrong": result.wrong,
            "negative": sum(result.negative.values()),
            "duplicate": result.duplicate,
            "not sent": 0 if self.stopped else self.unsent,
            "connections lost": self.lost_connections,
        }
        return [f"{count:,} {what}" for what, count in counts.items() if count]

    @property
    def ok(self) -> bool:
        return not self.faults

    def as_json(self) -> dict[str, object]:
        asked = {
            "target": str(self.plan.target),
            "connections": self.plan.connections,
            "expect": self.expect.value,
            "rate_asked": self.plan.rate or None,
        }
        found = self.result.as_json()
        return asked | found | {"lost_connections": self.lost_connections, "stopped": self.stopped, "ok": self.ok}


def print_report(report: Report) -> None:
    """Print the result as tables."""
    result = report.result
    title = f"Load test of {report.plan.target}, {report.plan.connections} connections, expecting {report.expect.value}"
    figures = [
        ("messages sent", f"{result.sent:,}"),
        ("answered as expected", f"{result.answered:,}"),
        ("missing", f"{result.missing:,}"),
        ("wrong answers", f"{result.wrong:,}"),
        ("negative answers", _negative(result.negative)),
        ("duplicate answers", f"{result.duplicate:,}"),
        ("rate asked", f"{report.plan.rate:,g}/s" if report.plan.rate else "as fast as it goes"),
        ("rate achieved", f"{result.rate:,.1f}/s over {result.seconds:,.3f} s"),
    ]
    table(title, ("", ""), figures)
    measured = {
        "commit acknowledgment": result.commit,
        "application acknowledgment": result.application,
        "(sent late by)": result.lateness,
    }
    rows = [_latency_row(name, latency) for name, latency in measured.items() if latency is not None]
    if rows:
        columns = ("milliseconds from due time", "messages", "p50", "p90", "p99", "p99.9", "max")
        table("", columns, rows)
    if report.stopped:
        typer.echo("Stopped early.")
    typer.echo("OK: every answer came once and was right." if report.ok else f"FAILED: {', '.join(report.faults)}.")


def _negative(negative: dict[str, int]) -> str:
    codes = ", ".join(f"{count:,} {code}" for code, count in sorted(negative.items()))
    return codes or "0"


def _latency_row(name: str, latency: Latency) -> tuple[object, ...]:
    return (name, latency.count, latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max)


async def show_progress(ledger: Ledger, plan: Plan) -> None:
    """Draw a progress bar on standard error until cancelled."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.fields[counts]}")
    columns = (TextColumn("{task.description}"), BarColumn(), text, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        bar = progress.add_task("load test", total=plan.total, counts="")
        while True:
            bad = ledger.wrong + ledger.duplicate + ledger.negative_count
            counts = f"{ledger.sent_count:,} sent, {ledger.answered_count:,} answered, {bad:,} bad"
            progress.update(bar, completed=ledger.answered_count, counts=counts)
            progress.refresh()
            await asyncio.sleep(REFRESH_INTERVAL)
