"""An agent inside the test's own process, against the embedded FHIR server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.agent import Agent
from medagent.config.bootstrap import Bootstrap
from medagent.plugins import Plugins
from medagent.tasks import Tasks
from medagent.testing.fhir_server import FhirServer
from medagent.testing.resources import AGENT_ID

STARTS_WITHIN = 10.0
"""Seconds."""


def bootstrap(fhir: FhirServer, state_dir: Path, agent_id: str = AGENT_ID) -> Bootstrap:
    """What an agent of the embedded server's client starts with."""
    return Bootstrap(
        base_url=fhir.base_url,
        client_id=fhir.client_id,
        client_secret=fhir.client_secret,
        agent_id=agent_id,
        state_dir=state_dir,
    )


@contextlib.asynccontextmanager
async def running(start: Bootstrap, plugins: Plugins | None = None) -> AsyncIterator[Agent]:
    """An agent that works, stopped in order afterwards. Raises `TimeoutError` if it does not come to that."""
    agent, stop, tasks = Agent(start, plugins), asyncio.Event(), Tasks()
    run = tasks.spawn(agent.run(stop), "agent")
    works = tasks.spawn(agent.listening.wait(), "start of the agent")
    try:
        async with asyncio.timeout(STARTS_WITHIN):
            await asyncio.wait((works, run), return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            run.result()
            raise RuntimeError("the agent has ended")
        yield agent
    finally:
        works.cancel()
        stop.set()
        await run


@contextlib.asynccontextmanager
async def connected(
    fhir: FhirServer, state_dir: Path, *, agent_id: str = AGENT_ID, plugins: Plugins | None = None
) -> AsyncIterator[Agent]:
    """An agent that works and that the server knows as connected."""
    async with running(bootstrap(fhir, state_dir, agent_id), plugins) as agent:
        await fhir.wait_for(lambda server: server.hub.connected > 0)
        yield agent


def free_port() -> int:
    """A port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
