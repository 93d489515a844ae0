"""How a load test shows its progress and its result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import typer

from medagent.cli.output import table
from medagent_hl7.answers import Expect
from medagent_hl7.commands.ledger import Latency, Ledger, Result
from medagent_hl7.commands.load import Plan

REFRESH_INTERVAL = 0.2
"""Seconds between two looks of the progress bar."""
_EXPECTED = {
    Expect.FIRST: "any acknowledgment",
    Expect.APPLICATION: "the application acknowledgment",
    Expect.BOTH: "commit and application acknowledgment",
}


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
    """Print the result for people."""
    plan, result = report.plan, report.result
    typer.echo(f"Load test of {plan.target}: {plan.connections} connections, expecting {_EXPECTED[report.expect]}\n")
    negative = "".join(f", {count:,} {code}" for code, count in sorted(result.negative.items()))
    figures = {
        "messages sent": f"{result.sent:,}",
        "answered as expected": f"{result.answered:,}",
        "missing": f"{result.missing:,}",
        "wrong answers": f"{result.wrong:,}",
        "negative answers": negative.removeprefix(", ") or "0",
        "duplicate answers": f"{result.duplicate:,}",
        "rate asked": f"{plan.rate:,g}/s" if plan.rate else "as fast as it goes",
        "rate achieved": f"{result.rate:,.1f}/s over {result.seconds:,.3f} s",
    }
    for name, value in figures.items():
        typer.echo(f"  {name:22}{value}")
    typer.echo()
    latencies = {"commit": result.commit, "application": result.application}
    if plan.rate:
        latencies["(sent late)"] = result.lateness
    print_latencies("milliseconds", latencies)
    if report.stopped:
        typer.echo("Stopped early.")
    typer.echo("OK: every answer came once and was right." if report.ok else f"FAILED: {', '.join(report.faults)}.")


def print_latencies(title: str, latencies: Mapping[str, Latency | None]) -> None:
    """Print a table of latencies by name, without those that nothing was measured of."""
    rows = [
        (name, latency.count, latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max)
        for name, latency in latencies.items()
        if latency is not None
    ]
    if rows:
        table("", (title, "messages", "p50", "p90", "p99", "p99.9", "max"), rows)


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
