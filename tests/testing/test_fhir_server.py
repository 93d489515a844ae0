"""The embedded FHIR server as a whole."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException

from medagent.testing.agent_client import AgentClient, fetch_token
from medagent.testing.bots import HL7, slow
from medagent.testing.fhir_server import FhirServer
from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource


def transmit(token: str, number: int) -> JsonObject:
    return {
        "type": "agent:transmit:request",
        "accessToken": token,
        "channel": "adt",
        "remote": "10.1.2.3:4001",
        "contentType": HL7,
        "body": f"MSH|^~\\&|MON|WARD7|HUB|CLINIC|20260301||ADT^A08|M{number}|P|2.5\r",
        "callback": f"cb-{number}",
    }


def new_server(**changes: object) -> FhirServer:
    arguments: JsonObject = {"heartbeat_interval": None} | changes
    return FhirServer(agent_resource({"adt": "ep1"}), [endpoint_resource("ep1", "mllp://127.0.0.1:2575")], **arguments)


async def test_many_messages_are_all_answered_and_noted_in_order() -> None:
    seen: list[object] = []
    async with new_server() as server, await AgentClient.open(server.base_url) as agent:
        server.on_transmit = lambda frame, response: seen.append(response["callback"])
        token = await fetch_token(server.base_url)
        await agent.connect(token, AGENT_ID)
        for number in range(300):
            await agent.send(transmit(token, number))
        await server.wait_for(300)
        answers = [await agent.receive() for _ in range(300)]
    callbacks = [f"cb-{number}" for number in range(300)]
    assert [frame["callback"] for frame in server.transmits] == callbacks == seen
    assert [answer["callback"] for answer in answers] == callbacks
    assert (server.journal.connects, server.journal.token_requests) == (1, 1)


async def test_a_server_can_be_restarted_on_its_port_and_keeps_what_it_knows() -> None:
    server = new_server()
    await server.start()
    try:
        token = await fetch_token(server.base_url)
        agent = await AgentClient.open(server.base_url)
        await agent.connect(token, AGENT_ID)
        await server.close()
        await agent.wait_closed()
        with pytest.raises(httpx2.ConnectError):
            await fetch_token(server.base_url)
        base_url = server.base_url
        await server.start(port=server.port)
        assert server.base_url == base_url
        async with await AgentClient.open(server.base_url) as again:
            await again.connect(token, AGENT_ID)
            await again.send(transmit(token, 1))
            assert (await again.receive())["callback"] == "cb-1"
    finally:
        await server.close()
        await server.close()


async def test_a_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    async with new_server() as server:
        with pytest.raises(OSError, match="address already in use"):
            await new_server().start(port=server.port)


async def test_closing_ends_open_sockets_hanging_upgrades_and_unfinished_bots() -> None:
    server = new_server(bot=slow(3600))
    await server.start()
    token = await fetch_token(server.base_url)
    agent = await AgentClient.open(server.base_url)
    await agent.connect(token, AGENT_ID)
    await agent.send(transmit(token, 1))
    await server.wait_for(1)
    server.faults.hang_upgrade = True
    async with asyncio.TaskGroup() as group:
        hanging = group.create_task(opening_fails(server.base_url))
        await server.wait_for(lambda server: server.sockets == 2)
        await server.close()
    assert hanging.done()
    with pytest.raises(ConnectionClosed):
        await agent.receive()
    assert (server.sockets, server.hub.connected) == (0, 0)


async def opening_fails(base_url: str) -> None:
    with pytest.raises((OSError, WebSocketException)):  # cut or refused: either is right
        await AgentClient.open(base_url)


async def test_heartbeats_are_sent_in_intervals() -> None:
    async with new_server(heartbeat_interval=0.01) as server, await AgentClient.open(server.base_url) as agent:
        await agent.connect(await fetch_token(server.base_url), AGENT_ID)
        for _ in range(3):
            assert await agent.receive() == {"type": "agent:heartbeat:request"}


async def test_an_expired_token_is_refused_on_an_open_socket_and_a_new_one_is_taken() -> None:
    now = 100.0
    async with (
        new_server(expires_in=20.0, clock=lambda: now) as server,
        await AgentClient.open(server.base_url) as agent,
    ):
        token = await fetch_token(server.base_url)
        await agent.connect(token, AGENT_ID)
        now += 21
        await agent.send(transmit(token, 1))
        assert await agent.receive() == {"type": "agent:error", "body": "Invalid access token"}
        await agent.send(transmit(await fetch_token(server.base_url), 2))
        assert (await agent.receive())["callback"] == "cb-2"
    assert [frame["callback"] for frame in server.journal.executed] == ["cb-2"]


async def test_a_reload_reaches_the_agent_after_a_change() -> None:
    async with new_server() as server, await AgentClient.open(server.base_url) as agent, asyncio.TaskGroup() as group:
        await agent.connect(await fetch_token(server.base_url), AGENT_ID)
        server.put(agent_resource({"adt": "ep1", "lab": "ep1"}))
        reload = group.create_task(server.reload_config(AGENT_ID))
        asked = await agent.receive()
        assert asked["type"] == "agent:reloadconfig:request"
        await agent.send({"type": "agent:reloadconfig:response", "statusCode": 200, "callback": asked["callback"]})
        outcome = await reload
        assert outcome is not None
        assert outcome["id"] == "ok"


async def test_answers_can_be_delayed() -> None:
    async with new_server() as server, await AgentClient.open(server.base_url) as agent:
        token = await fetch_token(server.base_url)
        await agent.connect(token, AGENT_ID)
        server.faults.answer_delay = 0.05
        await agent.send(transmit(token, 1))
        assert await agent.settle() == []
        assert (await agent.receive())["callback"] == "cb-1"
