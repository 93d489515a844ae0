"""The channel type `line` in a running agent, and its parameters."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.testing.configured import configured
from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

AGENT = agent_resource({"monitor": "monitor"})


async def test_a_line_is_stored_then_done(tmp_path: Path) -> None:
    endpoint = endpoint_resource("monitor", "line://127.0.0.1:0?encoding=latin-1")
    async with FhirServer(AGENT, [endpoint]) as server, asyncio.timeout(30):
        arguments = server_arguments(server.base_url, AGENT_ID, tmp_path)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as agent:
            await agent.listening("monitor")
            reader, writer = await asyncio.open_connection(*agent.addresses["monitor"])
            writer.write("17 temperature 37.2 °C\r\n".encode("latin-1"))
            assert await reader.readline() == b"stored 17\n"
            assert await reader.readline() == b"done 17\n"
            writer.close()
            await writer.wait_closed()
    (transmit,) = server.transmits
    assert transmit["contentType"] == "text/plain"
    assert transmit["body"] == "temperature 37.2 °C"


def test_an_unknown_encoding_is_a_problem_and_the_default_is_used() -> None:
    config, problems = configured(AGENT, endpoint_resource("monitor", "line://127.0.0.1:4001?encoding=utf-16"))
    assert config is not None
    assert config.channels[0].parameters["encoding"] == "utf-8"
    assert [problem.where for problem in problems if problem.severity == "error"] == ["Endpoint/monitor.address?encoding"]
