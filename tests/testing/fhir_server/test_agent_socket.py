"""The WebSocket and its faults, on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from medagent.testing.agent_client import AgentClient, fetch_token
from medagent.testing.bots import HL7
from medagent.testing.fhir_server import TO_AGENT, TO_SERVER, FhirServer, HttpFailure
from medagent.testing.fhir_server.agent_socket import MAX_MESSAGE_BYTES
from medagent.testing.resources import AGENT_ID, agent_resource

Frame = dict[str, object]


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    async with FhirServer(agent_resource({"adt": "ep1"}), heartbeat_interval=None) as server:
        yield server


def transmit(token: str, body: str = "MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5\r") -> Frame:
    return {
        "type": "agent:transmit:request",
        "accessToken": token,
        "channel": "adt",
        "contentType": HL7,
        "body": body,
        "callback": "cb",
    }


async def test_text_and_binary_messages_are_taken(server: FhirServer) -> None:
    token = await fetch_token(server.base_url)
    async with await AgentClient.open(server.base_url) as agent:
        connect = {"type": "agent:connect:request", "accessToken": token, "agentId": AGENT_ID}
        await agent.send_text(json.dumps(connect).encode())
        assert await agent.receive() == {"type": "agent:connect:response"}
        await agent.send(transmit(token))
        assert (await agent.receive())["statusCode"] == 200
    directions = [(exchange.direction, exchange.frame["type"]) for exchange in server.frames]
    assert directions == [
        (TO_SERVER, "agent:connect:request"),
        (TO_AGENT, "agent:connect:response"),
        (TO_SERVER, "agent:transmit:request"),
        (TO_AGENT, "agent:transmit:response"),
    ]


async def test_the_largest_message_passes_and_a_larger_one_closes_the_connection(server: FhirServer) -> None:
    token = await fetch_token(server.base_url)
    async with await AgentClient.open(server.base_url) as agent:
        await agent.connect(token, AGENT_ID)
        text = json.dumps(transmit(token))
        at = text.index("|2.5") + 4
        largest = text[:at] + "x" * (MAX_MESSAGE_BYTES - len(text)) + text[at:]
        await agent.send_text(largest)
        assert (await agent.receive())["statusCode"] == 200
        await agent.send_text(largest + " ")
        await agent.wait_closed()
        assert agent.close_code == 1009
    assert len(server.transmits) == 1


async def test_the_largest_message_can_be_another() -> None:
    small = FhirServer(agent_resource(), max_message_bytes=1000)
    async with small, await AgentClient.open(small.base_url) as agent:
        await agent.send_text("x" * 1001)
        await agent.wait_closed()
        assert agent.close_code == 1009


async def test_other_paths_are_not_found(server: FhirServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await AgentClient.open(server.base_url, "ws/other")
    assert refused.value.response.status_code == 404


async def test_aborted_sockets_end_without_a_close_frame(server: FhirServer) -> None:
    async with await AgentClient.open(server.base_url) as one, await AgentClient.open(server.base_url) as two:
        await server.wait_for(lambda server: server.sockets == 2)
        server.abort_sockets()
        await one.wait_closed()
        await two.wait_closed()
        assert (one.close_code, two.close_code) == (1006, 1006)
    await server.wait_for(lambda server: server.sockets == 0)


async def test_accept_and_close_at_once(server: FhirServer) -> None:
    server.faults.close_on_accept = 1000
    async with await AgentClient.open(server.base_url) as agent:
        await agent.wait_closed()
        assert agent.close_code == 1000


async def test_an_upgrade_can_be_refused(server: FhirServer) -> None:
    server.faults.upgrade_failure = HttpFailure(503)
    with pytest.raises(InvalidStatus) as refused:
        await AgentClient.open(server.base_url)
    assert refused.value.response.status_code == 503


async def test_an_upgrade_can_hang(server: FhirServer) -> None:
    server.faults.hang_upgrade = True
    with pytest.raises(TimeoutError):
        await open_within(server.base_url, 0.05)
    server.faults.hang_upgrade = False
    async with await AgentClient.open(server.base_url) as agent:
        assert await agent.settle() == []


async def open_within(base_url: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await AgentClient.open(base_url)


async def test_a_mute_server_hears_and_says_nothing(server: FhirServer) -> None:
    token = await fetch_token(server.base_url)
    async with await AgentClient.open(server.base_url) as agent:
        await agent.connect(token, AGENT_ID)
        server.faults.mute = True
        await agent.send(transmit(token))
        await server.wait_for(lambda server: server.frames[-1].frame["type"] == "agent:transmit:request")
        server.hub.send_heartbeats()
        with pytest.raises(TimeoutError):
            await agent.receive(timeout=0.05)
        assert server.transmits == []
        server.faults.mute = False
        assert await agent.settle() == []


async def test_a_closed_websocket_is_noticed(server: FhirServer) -> None:
    token = await fetch_token(server.base_url)
    agent = await AgentClient.open(server.base_url)
    await agent.connect(token, AGENT_ID)
    assert server.hub.info(AGENT_ID).status == "connected"
    await agent.close()
    await server.wait_for(lambda server: server.sockets == 0)
    assert server.hub.info(AGENT_ID).status == "disconnected"
    with pytest.raises(ConnectionClosed):
        await agent.receive()


async def test_a_client_that_goes_during_its_upgrade_is_no_error(server: FhirServer, caplog: pytest.LogCaptureFixture) -> None:
    request = (
        b"GET /ws/agent HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    for turns in range(10):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        writer.close()
        for _ in range(turns):
            await asyncio.sleep(0)
    # whoever comes later is served after them
    await fetch_token(server.base_url)
    await server.wait_for(lambda server: not server.sockets)
    assert not caplog.records
