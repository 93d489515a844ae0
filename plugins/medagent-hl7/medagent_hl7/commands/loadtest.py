"""`medagent loadtest`."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Annotated

import typer

from medagent.cli.output import Format, print_json
from medagent.tasks import Tasks
from medagent_hl7.answers import Expect
from medagent_hl7.commands.ledger import Ledger
from medagent_hl7.commands.load import LoadTest, Plan
from medagent_hl7.commands.load_report import Report, print_report, show_progress
from medagent_hl7.commands.target import Target, parse_target
from medagent_hl7.samples.generate import Generator, unique_prefix

DEFAULT_TARGET = Target("127.0.0.1", 2575)
DEFAULT_COUNT = 10_000
MAX_CONNECTIONS = 10_000


def register(app: typer.Typer) -> None:
    app.command("loadtest")(loadtest)


def loadtest(
    target: Annotated[
        Target,
        typer.Argument(
            parser=parse_target,
            metavar="HOST:PORT",
            help="Where the receiver listens, without TLS.",
        ),
    ] = DEFAULT_TARGET,
    rate: Annotated[float, typer.Option(min=0, help="Messages a second in all; 0 for as fast as --window allows.")] = 1000,
    count: Annotated[
        int | None, typer.Option(min=1, help=f"Messages in all. Default without --duration: {DEFAULT_COUNT}.")
    ] = None,
    duration: Annotated[float | None, typer.Option(min=0.001, help="Seconds to send for.")] = None,
    connections: Annotated[int, typer.Option(min=1, max=MAX_CONNECTIONS, help="MLLP connections, used in turn.")] = 10,
    window: Annotated[int, typer.Option(min=1, help="With --rate 0: messages a connection that wait for their answer.")] = 100,
    expect: Annotated[
        Expect,
        typer.Option(help="What each message must get: any acknowledgment, the application's, or commit and application."),
    ] = Expect.FIRST,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds without an expected answer after which those outstanding are missing.")
    ] = 30.0,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Send many HL7 v2 messages at a steady rate, check every acknowledgment and show the latencies.

    Messages leave on schedule, answered or not, and latencies count from the time a message was due, so a receiver that
    stalls shows it. Each acknowledgment must carry a known code and the control ID of a message of the same connection, and
    each kind may come once a message. Ctrl-C ends the test and shows what there is.

    Exits with 1 if an answer is missing, wrong, negative or duplicate, or a connection was lost.

    Example: medagent loadtest 127.0.0.1:2575 --rate 1000 --count 10000

    For two minutes: medagent loadtest 127.0.0.1:2575 --rate 500 --duration 120 --expect both
    """
    if target.tls:
        raise typer.BadParameter("a load test has no TLS")
    if expect is Expect.NONE:
        raise typer.BadParameter("a load test checks acknowledgments", param_hint="--expect")
    if count is None and duration is None:
        count = DEFAULT_COUNT
    plan = Plan(target, rate, count, duration, connections, window, timeout)
    report = asyncio.run(_run(plan, expect))
    if output is Format.JSON:
        print_json(report.as_json())
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(1)


async def _run(plan: Plan, expect: Expect) -> Report:
    prefix = unique_prefix()
    ledger = Ledger(prefix, expect, plan.connections)
    test = LoadTest(plan, ledger, Generator(prefix))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, test.stop)
    tasks = Tasks()
    try:
        if sys.stderr.isatty():
            tasks.spawn(show_progress(ledger, plan), "progress")
        await test.run()
    finally:
        await tasks.cancel()
        loop.remove_signal_handler(signal.SIGINT)
    return Report(plan, expect, ledger.result(), test.lost_connections, test.stopped)
