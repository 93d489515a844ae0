"""`medagent demo`."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Annotated

import typer

from medagent.cli.output import Format, print_json
from medagent.errors import MedagentError
from medagent_hl7.answers import Expect
from medagent_hl7.client import Remote
from medagent_hl7.commands.sending import Outcome, Outgoing, send_all
from medagent_hl7.samples import load, with_control_id

DEFAULT_PORT = 2575
"""Registered for HL7 (https://www.iana.org/assignments/service-names-port-numbers)."""
ANSWER_TIMEOUT = 15.0
"""Seconds for each message's acknowledgments."""


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Send the samples, show what happened, and end.")] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help=f"MLLP port of the agent, 0 for a free one. Default: {DEFAULT_PORT} if it is free."
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="Messages to send, the samples in turn. Default: each once.")] = None,
    output: Annotated[Format, typer.Option("--format", help="For people, or with --once for machines.")] = Format.TEXT,
) -> None:
    """Show everything at work on this machine: a FHIR server, an agent and a device.

    Starts an embedded FHIR server and an agent, which reads its configuration from it, sends HL7 v2 sample messages to the
    agent as a device would, and shows the acknowledgments, the queue and the latencies. Then it stays up for more, until
    Ctrl-C.

    With --once it ends by itself, with exit code 0 only if every message was answered AA.

    Example: medagent demo
    """
    if output is Format.JSON and not once:
        raise typer.BadParameter("json needs --once", param_hint="--format")
    try:
        import aiohttp  # noqa: F401  only to say what is missing
    except ImportError:
        raise MedagentError("the demo needs its server's packages: from a checkout, pip install '.[testing]'") from None
    chosen = _choose_port(port)
    if port is None and chosen != DEFAULT_PORT:
        typer.echo(f"Port {DEFAULT_PORT} is taken: the agent gets a free one.", err=True)
    stopped = asyncio.run(_run(chosen, _messages(count), once=once, text=output is Format.TEXT))
    if stopped and once:
        raise typer.Exit(130)


def _choose_port(port: int | None) -> int:
    """The port asked for; without one the default, or 0 if that is taken. Raises `MedagentError` if it is taken."""
    wanted = DEFAULT_PORT if port is None else port
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            if port is None:
                return 0
            raise MedagentError(f"the agent cannot listen on 127.0.0.1:{port}: {error.strerror}") from None
    return wanted


def _messages(count: int | None) -> list[Outgoing]:
    samples = load()
    chosen = itertools.islice(itertools.cycle(samples), count if count is not None else len(samples))
    return [Outgoing(sample.name, with_control_id(sample.body, f"DEMO{number:06}")) for number, sample in enumerate(chosen, 1)]


def _is_answered(outcome: Outcome) -> bool:
    return outcome.ok and "AA" in outcome.codes


async def _run(port: int, messages: list[Outgoing], *, once: bool, text: bool) -> bool:
    """Run the demo; returns whether the user has stopped it. Raises `MedagentError` if not every message was answered AA."""
    try:
        with _stoppable():
            await _show(port, messages, once=once, text=text)
    except asyncio.CancelledError:
        return True
    return False


async def _show(port: int, messages: list[Outgoing], *, once: bool, text: bool) -> None:
    from medagent_hl7.commands import demo_view
    from medagent_hl7.commands.demo_site import DemoSite

    async with AsyncExitStack() as stack:
        with demo_view.spinner("starting the FHIR server and the agent"):
            site = await stack.enter_async_context(DemoSite(port))
        if text:
            demo_view.print_site(site)
        with demo_view.spinner(f"sending {len(messages):,} messages"):
            results = await stack.enter_async_context(
                aclosing(
                    send_all(Remote(site.target.host, site.target.port), messages, expect=Expect.BOTH, timeout=ANSWER_TIMEOUT)
                )
            )
            outcomes = [outcome async for outcome in results]
            report = await site.queue_report()
        if text:
            demo_view.print_messages(outcomes)
            demo_view.print_figures(outcomes, report)
        else:
            print_json(demo_view.as_json(outcomes, report))
        failed = sum(not _is_answered(outcome) for outcome in outcomes)
        if failed:
            raise MedagentError(f"{failed} of {len(outcomes)} messages were not answered AA; {site.where_log}")
        if not once:
            feed = demo_view.LiveFeed()
            site.server.on_transmit = feed.answered
            demo_view.print_invitation(site)
            await feed.show()
        elif text:
            typer.echo(f"All {len(outcomes):,} messages were answered AA.")


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM cancel the current task, once: the second one must not disturb the stopping."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        for number in signals:
            loop.add_signal_handler(number, lambda: None)
        typer.echo("\nstopping", err=True)
        if task is not None:
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
