"""An agent in the test's own process, beside an embedded FHIR server: quicker than a child, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.agent import Agent
from medagent.config.bootstrap import Bootstrap
from medagent.plugins import Plugins
from medagent.testing.fhir_server import FhirServer
from medagent.testing.resources import AGENT_ID


@contextlib.asynccontextmanager
async def local_agent(
    server: FhirServer,
    state_dir: Path,
    *,
    agent_id: str = AGENT_ID,
    client_id: str = "client1",
    plugins: Plugins | None = None,
) -> AsyncIterator[Agent]:
    """A running agent that the server knows as connected."""
    bootstrap = Bootstrap(
        base_url=server.base_url,
        client_id=client_id,
        client_secret="secret",  # noqa: S106  a test's
        agent_id=agent_id,
        state_dir=state_dir,
    )
    agent, stop = Agent(bootstrap, plugins), asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))
    try:
        await server.wait_for(lambda server: server.hub.connected > 0)
        yield agent
    finally:
        stop.set()
        await running
