"""`medagent queue`: a look into the queue, whether its agent runs or not; `backup` is in `medagent.cli.backup`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from medagent.cli.backup import backup
from medagent.cli.output import Format, print_json, table
from medagent.cli.state import StateDir, ask_or_read, state_dir_or_default
from medagent.report import queue_report

__all__ = ["show"]


def register(app: typer.Typer) -> None:
    commands = typer.Typer(help="Look into the queue, and copy it.", no_args_is_help=True, rich_markup_mode=None)
    commands.command("stats")(stats)
    commands.command("backup")(backup)
    app.add_typer(commands, name="queue")


def stats(
    state_dir: StateDir = None,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Show how many messages are in which state, the oldest one's age, rates and latencies.

    Works while the agent runs, and when it does not: then what the file holds is shown.

    Example: medagent queue stats --state-dir /var/lib/medagent
    """
    folder = state_dir_or_default(state_dir)

    def read() -> Any:
        from medagent.queue.sqlite.counting import read_depths
        from medagent.queue.sqlite.store import QUEUE_NAME

        return queue_report(read_depths(folder / QUEUE_NAME))

    report = ask_or_read(folder, "stats", read)
    if output is Format.JSON:
        print_json(report)
    else:
        show(report)


# the report is decoded JSON, nested by kind
def show(report: Any) -> None:
    """Print `report`, what a running agent answers to `stats` (`medagent.admin.call`), as tables."""
    if not report["channels"]:
        typer.echo("The queue holds no messages.")
        return
    rows = [_row(name, channel) for name, channel in report["channels"].items()]
    if len(rows) > 1:
        rows.append(_row("all", report))
    table("Messages", ["channel", "accepted", "live", "oldest, s", "of them"], rows)
    measured = {name: channel["since_start"] for name, channel in report["channels"].items() if "since_start" in channel}
    if measured:
        # these are zero on a good day, and then not worth a column
        unusual = [what for what in UNUSUAL if any(since[what] for since in measured.values())]
        columns = ["channel", "in /s", "out /s", "commit p50", "commit p99", "answer p50", "answer p99"]
        rows = [_measured_row(name, since, unusual) for name, since in measured.items()]
        table("Since the agent's start, times in ms", [*columns, *(UNUSUAL[what] for what in unusual)], rows)
    for what, text in UNUSUAL_FOR_ALL.items():
        if report.get(what):
            typer.echo(f"{text} since the agent's start: {report[what]}")


UNUSUAL_FOR_ALL = {
    "refused": "Messages that the queue refused",
    "refused_full": "Of them because the queue was full",
    "reused_control_ids": "Messages accepted under the control ID of another",
}
UNUSUAL = {"timed_out_attempts": "timed out", "failed_attempts": "failed", "duplicates": "resent by device"}


def _row(name: str, figures: Any) -> list[object]:
    """The last cell has a line for each state that messages are in; the numbers in it add up to the accepted ones."""
    counts = {state.replace("_", " "): count for state, count in (figures["states"] | {"deleted": figures["removed"]}).items()}
    width = len(str(max(counts.values())))
    lines = "\n".join(f"{count:{width}} {state}" for state, count in counts.items() if count)
    oldest = figures["oldest_age_seconds"]
    return [name, figures["accepted"], figures["depth"], None if oldest is None else round(oldest, 1), lines or None]


def _measured_row(name: str, since: Any, unusual: list[str]) -> list[object]:
    times = [since[what][share] for what in ("commit_ms", "answer_ms") for share in ("p50", "p99")]
    return [name, since["accepted_per_second"], since["ended_per_second"], *times, *(since[what] for what in unusual)]
