"""`medagent run`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from medagent.config.bootstrap import Bootstrap, Flags, resolve

log = logging.getLogger(__name__)


STOP_SECONDS = 9.0
"""After a signal, the process ends in order within this, or at once when it is over."""


def register(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    base_url: Annotated[str | None, typer.Option(help="The FHIR server, such as https://fhir.example.org/.")] = None,
    client_id: Annotated[str | None, typer.Option(help="The OAuth2 client of this agent.")] = None,
    client_secret: Annotated[
        str | None, typer.Option(help="Its secret. Others can read it in the process list: rather use the file.")
    ] = None,
    client_secret_file: Annotated[Path | None, typer.Option(help="A file with the secret.")] = None,
    agent_id: Annotated[str | None, typer.Option(help="The id of the Agent resource.")] = None,
    agent: Annotated[
        list[Path] | None,
        typer.Option(help="A file with the Agent, or a Bundle of Agent and Endpoints, instead of the server's. Repeatable."),
    ] = None,
    properties: Annotated[Path | None, typer.Option(help="A file of Medplum's form: agent.properties.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder of the queue, its lock and the admin socket.")] = None,
    bind: Annotated[str | None, typer.Option(help="`any`: listen on all interfaces, whatever host an Endpoint names.")] = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Leave with 75 if another agent holds the queue.")] = False,
    log_level: Annotated[str | None, typer.Option(help="debug, info (default), warning or error.")] = None,
    log_format: Annotated[str | None, typer.Option(help="text (default) or json.")] = None,
) -> None:
    """Run the agent until SIGTERM or SIGINT. SIGHUP has it read its configuration again.

    Every option can be given in the environment instead: MEDAGENT_BASE_URL, MEDAGENT_CLIENT_ID, MEDAGENT_CLIENT_SECRET,
    MEDAGENT_CLIENT_SECRET_FILE, MEDAGENT_AGENT_ID and so on.

    Example: medagent run --base-url https://fhir.example.org/ --client-id 7f3c --client-secret-file secret --agent-id 3a3c

    Without a server, to try a configuration: medagent run --agent agent.json --state-dir /tmp/medagent
    """
    flags = Flags(
        base_url=base_url,
        client_id=client_id,
        client_secret=client_secret,
        client_secret_file=client_secret_file,
        agent_id=agent_id,
        agent_files=tuple(agent or ()),
        state_dir=state_dir,
        bind=bind,
        log_level=log_level,
        log_format=log_format,
        no_wait=no_wait,
    )
    bootstrap = resolve(flags, os.environ, properties)

    from medagent import failpoints, logs

    logs.configure(bootstrap.log_level, bootstrap.log_format)
    for warning in bootstrap.warnings:
        log.warning("%s", warning)
    failpoints.arm(os.environ)
    os.umask(0o077)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(bootstrap))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where the extra `fast` is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(bootstrap: Bootstrap) -> None:
    from medagent.agent import Agent

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, stop, number)
    agent = Agent(bootstrap)
    loop.add_signal_handler(signal.SIGHUP, agent.reload_soon, "SIGHUP")
    await agent.run(stop)
    if stop.is_set():
        # everything is closed; what is left in other threads is nobody's concern
        _end_now(0)


def _on_signal(stop: asyncio.Event, number: int) -> None:
    """The first signal stops in order; a second one ends at once, which loses nothing that was acknowledged."""
    if stop.is_set():
        _end_now(128 + number)
    log.info("%s: stopping; a second signal ends at once", signal.Signals(number).name)
    stop.set()
    # a name look-up in the system's resolver, for one, cannot be cancelled, and the process would wait for it
    watchdog = threading.Timer(STOP_SECONDS, _end_now, (128 + number,))
    watchdog.daemon = True
    watchdog.start()


def _end_now(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)
