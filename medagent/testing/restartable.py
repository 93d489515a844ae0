"""The real command with an embedded FHIR server, stopped and started again on one state folder."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from medagent.failpoints import VARIABLE
from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID


class RestartableAgent:
    """One agent and its server."""

    def __init__(self, fhir: FhirServer, state_dir: Path, channels: Collection[str]) -> None:
        self.fhir = fhir
        self.state_dir = state_dir
        self.channels = channels

    @contextlib.asynccontextmanager
    async def agent(self, failpoint: str = "") -> AsyncIterator[AgentProcess]:
        """Its next life, once all channels listen; `failpoint` as in `medagent.failpoints.VARIABLE`."""
        arguments = server_arguments(self.fhir.base_url, AGENT_ID, self.state_dir)
        async with AgentProcess(*arguments, environ={**SERVER_ENVIRON, VARIABLE: failpoint}) as process:
            await process.listening(*self.channels)
            yield process
