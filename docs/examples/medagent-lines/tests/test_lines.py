"""Tests of the channel type `line`: an agent of its own, a real socket, the embedded FHIR server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.agent import Agent
from medagent.config.bootstrap import Bootstrap
from medagent.testing.fhir_server import FhirServer
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

ENDPOINT = endpoint_resource("monitor", "line://127.0.0.1:0?encoding=latin-1")


@contextlib.asynccontextmanager
async def running_agent(server: FhirServer, state_dir: Path) -> AsyncIterator[tuple[str, int]]:
    """An agent with one line channel; gives the address it listens on."""
    agent = Agent(Bootstrap(server.base_url, "client1", "secret", AGENT_ID, state_dir=state_dir))
    stop = asyncio.Event()
    running = asyncio.ensure_future(agent.run(stop))
    try:
        await agent.listening.wait()
        assert agent.pipeline is not None
        (channel,) = agent.pipeline.supervisor.channels
        while not channel.address:
            await asyncio.sleep(0)
        host, _, port = channel.address.rpartition(":")
        yield host, int(port)
    finally:
        stop.set()
        await running


async def test_a_line_is_stored_then_done(tmp_path: Path) -> None:
    async with FhirServer(agent_resource({"monitor": "monitor"}), [ENDPOINT]) as server:
        async with running_agent(server, tmp_path) as (host, port), asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write("17 temperature 37.2 °C\r\n".encode("latin-1"))
            assert await reader.readline() == b"stored 17\n"
            assert await reader.readline() == b"done 17\n"
            writer.close()
            await writer.wait_closed()
        (transmit,) = server.transmits
    assert transmit["contentType"] == "text/plain"
    assert transmit["body"] == "temperature 37.2 °C"


async def test_a_device_that_left_does_not_disturb(tmp_path: Path) -> None:
    async with FhirServer(agent_resource({"monitor": "monitor"}), [ENDPOINT]) as server:
        async with running_agent(server, tmp_path) as (host, port), asyncio.timeout(10):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(b"18 gone\n")
            writer.close()
            await writer.wait_closed()
            await server.wait_for(1)
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"19 still here\n")
            assert [await reader.readline() for _ in range(2)] == [b"stored 19\n", b"done 19\n"]
            writer.close()
            await writer.wait_closed()


def test_an_unknown_encoding_is_a_problem_and_the_default_is_used() -> None:
    from medagent.config.build import build
    from medagent.config.source import Source
    from medagent.plugins import Plugins

    endpoint = endpoint_resource("monitor", "line://127.0.0.1:4001?encoding=utf-16")
    source = Source(agent_resource({"monitor": "monitor"}), {"Endpoint/monitor": endpoint})
    plugins = Plugins()
    config, problems = build(source, plugins.registry, schemes=plugins.schemes)
    assert config is not None
    assert config.channels[0].parameters["encoding"] == "utf-8"
    assert [problem.where for problem in problems if problem.severity == "error"] == ["Endpoint/monitor.address?encoding"]
