"""A device, a real agent and a FHIR server whose Bot reads and writes hexadecimal text."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.testing.bots import BotRequest, BotResult
from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.queue_file import read_messages
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.types import State

AGENT = agent_resource({"monitor": "monitor"})
ENDPOINT = endpoint_resource("monitor", "tcp://127.0.0.1:0?startChar=%02&endChar=%03&ackBytes=06&nakBytes=15")


def bot(request: BotRequest) -> BotResult:
    """Says the message backwards, or nothing."""
    text = bytes.fromhex(request.body)[1:-1]
    return "" if text == b"quiet" else (b"\x02" + text[::-1] + b"\x03").hex()


async def test_a_message_goes_to_the_bot_and_its_answer_to_the_device(tmp_path: Path) -> None:
    async with FhirServer(AGENT, [ENDPOINT], bot=bot) as server:
        arguments = server_arguments(server.base_url, AGENT_ID, tmp_path)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as agent, asyncio.timeout(30):
            await agent.listening("monitor")
            reader, writer = await asyncio.open_connection(*agent.addresses["monitor"])
            writer.write(b"\x02HR 72\x03")
            assert await reader.readexactly(8) == b"\x06\x0227 RH\x03"
            writer.write(b"\x02quiet\x03")
            assert await reader.readexactly(1) == b"\x06"
            await agent.drained(tmp_path)
            writer.close()
            assert await agent.stop() == 0
    first, second = server.transmits
    assert (first["contentType"], first["body"]) == ("application/octet-stream", "02485220373203")
    assert second["body"] == b"\x02quiet\x03".hex()
    stored = read_messages(tmp_path / "queue.db")
    assert [(message.body, message.state) for message in stored] == [
        (b"\x02HR 72\x03", State.RESPONSE_SENT),
        (b"\x02quiet\x03", State.PROCESSED),
    ]
