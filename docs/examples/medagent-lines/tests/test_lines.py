"""Tests of the channel type `line`: the real command, a real socket, the embedded FHIR server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.testing.command_line import run_main
from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

AGENT = agent_resource({"monitor": "monitor"})


@contextlib.asynccontextmanager
async def running(state_dir: Path) -> AsyncIterator[tuple[FhirServer, tuple[str, int]]]:
    """A FHIR server, and the address of a line channel."""
    endpoint = endpoint_resource("monitor", "line://127.0.0.1:0?encoding=latin-1")
    async with FhirServer(AGENT, [endpoint]) as server:
        arguments = server_arguments(server.base_url, AGENT_ID, state_dir)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as agent, asyncio.timeout(30):
            await agent.listening("monitor")
            yield server, agent.addresses["monitor"]


async def test_a_line_is_stored_then_done(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, address):
        reader, writer = await asyncio.open_connection(*address)
        writer.write("17 temperature 37.2 °C\r\n".encode("latin-1"))
        assert await reader.readline() == b"stored 17\n"
        assert await reader.readline() == b"done 17\n"
        writer.close()
        await writer.wait_closed()
    (transmit,) = server.transmits
    assert transmit["contentType"] == "text/plain"
    assert transmit["body"] == "temperature 37.2 °C"


async def test_a_device_that_left_does_not_disturb(tmp_path: Path) -> None:
    async with running(tmp_path) as (server, address):
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"18 gone\n")
        writer.close()
        await writer.wait_closed()
        await server.wait_for(1)
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"19 still here\n")
        assert [await reader.readline() for _ in range(2)] == [b"stored 19\n", b"done 19\n"]
        writer.close()
        await writer.wait_closed()


def test_an_unknown_encoding_is_a_problem_and_the_default_is_used(tmp_path: Path) -> None:
    files = [tmp_path / "agent.json", tmp_path / "endpoint.json"]
    for file, resource in zip(
        files, [AGENT, endpoint_resource("monitor", "line://127.0.0.1:4001?encoding=utf-16")], strict=True
    ):
        file.write_text(json.dumps(resource))
    done = run_main("check", *map(str, files))
    assert done.exit_code == 78
    assert "Endpoint/monitor.address?encoding" in done.stdout
    assert "using the default, utf-8" in done.stdout
