"""A running agent that listens in every mode, with the embedded FHIR server behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

QUERIES = {"original": "", "enhanced": "?enhanced=true", "aa": "?enhanced=aa", "release2": "?enhanced=true&mllpRelease=2"}


@pytest.fixture
async def fhir() -> AsyncIterator[FhirServer]:
    endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in QUERIES.items()]
    async with FhirServer(agent_resource({name: name for name in QUERIES}), endpoints) as server:
        yield server


@pytest.fixture
async def agent(fhir: FhirServer, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    """Its channels are named as in `QUERIES`."""
    arguments = server_arguments(fhir.base_url, AGENT_ID, tmp_path / "state")
    async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as process:
        await process.listening(*QUERIES)
        yield process
        assert await process.stop() == 0
