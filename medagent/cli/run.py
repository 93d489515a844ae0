"""`medagent run`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING

import typer

from medagent.cli import options
from medagent.cli.loading import refuse_left_out
from medagent.config.bootstrap import resolve
from medagent.config.options import Flags

if TYPE_CHECKING:
    from medagent.agent import Agent

log = logging.getLogger(__name__)

NEW_OBJECTS = 20_000
"""More objects made than freed make a collection, of which Python makes one every 700: messages under way are no garbage."""
STOP_SECONDS = 9.0
"""After a signal, the process ends in order within this, or at once when it is over."""


def register(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    base_url: options.BaseUrl = None,
    client_id: options.ClientId = None,
    client_secret: options.ClientSecret = None,
    client_secret_file: options.ClientSecretFile = None,
    agent_id: options.AgentId = None,
    agent: options.AgentFiles = None,
    ca_file: options.CaFile = None,
    client_cert_file: options.ClientCertFile = None,
    client_key_file: options.ClientKeyFile = None,
    proxy: options.Proxy = None,
    properties: options.Properties = None,
    config: options.Config = None,
    state_dir: options.StateDir = None,
    queue_store: options.QueueStore = None,
    bind: options.Bind = None,
    no_wait: options.NoWait = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    block_plugins: options.BlockPlugins = None,
    allow_plugins: options.AllowPlugins = None,
    load_plugins: options.LoadPlugins = None,
    strict_plugins: options.StrictPlugins = None,
) -> None:
    """Run the agent until SIGTERM or SIGINT. SIGHUP has it read its configuration again.

    Every option can be given in the environment instead, as MEDAGENT_BASE_URL and so on, or in the files that --properties
    and --config name. An option counts before the environment, that before the files. See `medagent config`.

    Example: medagent run --base-url https://fhir.example.org/ --client-id 7f3c --client-secret-file secret --agent-id 3a3c

    Without a server, to try a configuration: medagent run --agent agent.json --state-dir /tmp/medagent
    """
    flags = Flags(
        properties=properties,
        config=config,
        base_url=base_url,
        client_id=client_id,
        client_secret=client_secret,
        client_secret_file=client_secret_file,
        agent_id=agent_id,
        agent=tuple(agent or ()),
        ca_file=ca_file,
        client_cert_file=client_cert_file,
        client_key_file=client_key_file,
        proxy=proxy,
        state_dir=state_dir,
        queue_store=queue_store,
        bind=bind,
        no_wait=no_wait,
        log_level=log_level,
        log_format=log_format,
        block_plugins=tuple(block_plugins or ()),
        allow_plugins=tuple(allow_plugins or ()),
        load_plugins=tuple(load_plugins or ()),
        strict_plugins=strict_plugins,
    )
    bootstrap = resolve(flags, os.environ)
    gc.disable()  # nothing of what is loaded now becomes garbage

    from medagent import failpoints, logs

    logs.configure(bootstrap.log_level, bootstrap.log_format)
    logs.hide_texts()
    for warning in bootstrap.warnings:
        log.warning("%s", warning)
    failpoints.arm(os.environ)
    os.umask(0o077)
    raise_file_limit()

    from medagent.fhir import validation

    validation.work_apart()  # it gets ready while this process does

    from medagent.agent import Agent
    from medagent.guard import run_to_end
    from medagent.plugins import Plugins

    # before there is a loop: a signal ends what hangs here
    plugins = Plugins(bootstrap.plugins, state_dir=bootstrap.state_dir, mark=True)
    refuse_left_out(bootstrap.plugins, plugins)
    running = Agent(bootstrap, plugins)
    gc.freeze()  # nor is it looked at by later collections, which makes them shorter
    gc.set_threshold(NEW_OBJECTS, 10, 10)
    gc.enable()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        run_to_end(runner.get_loop(), _serve(running), plugins.guards)


def raise_file_limit() -> None:
    """Let the process open as many files as the system's hard limit allows: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # some systems have no limit, and do not take it as one
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where the extra `fast` is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(agent: Agent) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signalled: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        """The first signal stops in order; a second one ends at once, which loses nothing that was acknowledged."""
        if signalled:
            _end_now(128 + number)
        signalled.append(number)
        # a name look-up in the system's resolver, for one, cannot be cancelled, and the process would wait for it
        limit = threading.Timer(STOP_SECONDS, _end_now, (128 + number,))
        limit.daemon = True
        limit.start()
        loop.call_soon_threadsafe(_stop, stop, number)

    # not the loop's own handlers, which wait for it to turn: a plugin may block it
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    loop.add_signal_handler(signal.SIGHUP, agent.reload_soon, "SIGHUP")
    await agent.run(stop)
    if stop.is_set():
        # everything is closed; what is left in other threads is nobody's concern
        _end_now(0)


def _stop(stop: asyncio.Event, number: int) -> None:
    log.info("%s: stopping; a second signal ends at once", signal.Signals(number).name)
    stop.set()


def _end_now(code: int) -> None:
    sys.stderr.flush()
    os._exit(code)
