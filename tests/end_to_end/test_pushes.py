"""Pushes, from the server's REST call to a device and back: real agent, real sockets, real queue."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from medagent.admin import call
from medagent.agent import Agent
from medagent.failpoints import VARIABLE
from medagent.testing.fhir_server import FhirServer
from medagent.testing.fhir_server.operations import OperationResult
from medagent.testing.in_process import connected
from medagent.testing.mllp_server import MllpServer, accept, acknowledge
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, device_resource
from medagent.types import State

HL7 = "x-application/hl7-v2+er7"
PATIENCE = 10.0


def message(control_id: str, name: str = "DOE^JANE") -> str:
    return f"MSH|^~\\&|LAB|HOSP|MONITOR|WARD|20260105120000||ADT^A01|{control_id}|P|2.5\rPID|1||4711||{name}\r"


def silent(body: bytes) -> list[bytes]:
    return []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def fhir_server(port: int, settings: Mapping[str, Any] | None = None, query: str = "") -> FhirServer:
    """A server that knows one device, which listens on `port`."""
    device = device_resource("d", f"mllp://127.0.0.1:{port}{query}")
    return FhirServer(agent_resource((), settings or {}), devices=[device])


async def push(server: FhirServer, body: str, content_type: str = HL7, **arguments: object) -> OperationResult:
    """`POST Agent/{id}/$push` to the device; `waitForResponse` unless said otherwise."""
    asked = {"destination": "Device/d", "contentType": content_type, "body": body, "waitForResponse": True, **arguments}
    return await server.operations.post(AGENT_ID, "$push", {}, asked)


def text_of(result: OperationResult) -> str:
    """What an OperationOutcome says."""
    assert result.resource is not None
    text: str = result.resource["issue"][0]["details"]["text"]
    return text


def responses(server: FhirServer) -> list[dict[str, Any]]:  # frames as decoded JSON
    """What the agent has answered to pushes."""
    return [e.frame for e in server.frames if e.frame.get("type") == "agent:transmit:response"]


def rows(state_dir: Path) -> list[tuple[Any, ...]]:
    """The pushes in the queue file of an agent that has ended: state, response, error, attempts."""
    with contextlib.closing(sqlite3.connect(state_dir / "queue.db")) as connection:
        return connection.execute("SELECT state, response, error, attempts FROM message WHERE channel = '$push'").fetchall()


@contextlib.asynccontextmanager
async def site(
    folder: Path, settings: Mapping[str, Any] | None = None, query: str = ""
) -> AsyncIterator[tuple[FhirServer, MllpServer, Agent]]:
    async with (
        MllpServer() as device,
        fhir_server(device.port, settings, query) as server,
        connected(server, folder) as agent,
    ):
        yield server, device, agent


async def test_who_waits_gets_the_devices_answer_byte_for_byte(tmp_path: Path) -> None:
    async with site(tmp_path, query="?encoding=ISO-8859-1") as (server, device, _):
        answer = "MSH|^~\\&|MONITOR|WÄRD\rMSA|AA|P1|Grüße\r\n".encode("latin-1")
        device.respond = lambda body: [answer]
        result = await push(server, message("P1", "MÜLLER^JÖRG"))
        assert (result.status, result.content_type, result.text) == (200, HL7, answer.decode("latin-1"))
        assert device.received == [message("P1", "MÜLLER^JÖRG").encode("latin-1")]
    assert rows(tmp_path) == [(State.RESPONSE_SENT, answer.decode("latin-1"), None, 1)]


async def test_who_does_not_wait_is_told_at_once_and_the_answer_goes_to_the_server_all_the_same(tmp_path: Path) -> None:
    async with site(tmp_path) as (server, device, _):
        result = await push(server, message("P1"), waitForResponse=False)
        assert text_of(result) == "All OK"
        await server.wait_for(lambda server: responses(server) != [])
        [frame] = responses(server)
        assert "callback" not in frame
        assert (frame["statusCode"], frame["contentType"], "MSA|AA|P1" in frame["body"]) == (200, HL7, True)
        assert device.received == [message("P1").encode()]
        stats = await asyncio.to_thread(call, tmp_path, "stats")
        assert stats["channels"]["$push"]["states"]["response_sent"] == 1
        assert stats["channels"]["$push"]["since_start"]["ended"] == 1
    assert rows(tmp_path) == [(State.RESPONSE_SENT, frame["body"], None, 1)]


@pytest.mark.parametrize(
    ("url", "body", "content_type", "why"),
    [
        ("", "not hl7", HL7, "the message is no HL7 v2"),
        ("", "MSH|^~\\&|A|B|C|D|2026||ADT^A01||P|2.5\r", HL7, "no control ID (MSH-10)"),
        ("", "MSH|^~\\&|A|B|C|D|2026||ADT^A01", HL7, "no control ID (MSH-10)"),
        ("", message("P1"), "text/plain", 'content of type "text/plain" cannot be sent, only x-application/hl7-v2+er7'),
        ("", message("P1") + "\x1c\r", HL7, "0x1C 0x0D"),
        ("?encoding=ISO-8859-1", message("P1", "ŁUKASZ"), HL7, "character 78 of the message does not exist in ISO-8859-1"),
        ("?encoding=klingon", message("P1"), HL7, "the encoding klingon of mllp://127.0.0.1:"),
        ("mllp://127.0.0.1", message("P1"), HL7, '"mllp://127.0.0.1" names no port'),
        ("http://127.0.0.1:1", message("P1"), HL7, "it knows mllp://, mllps://"),
        ("10.0.0.7:2575", message("P1"), HL7, "begins with no scheme"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_the_reason_and_queued_nowhere(
    tmp_path: Path, url: str, body: str, content_type: str, why: str
) -> None:
    async with site(tmp_path) as (server, device, _):
        server.put(device_resource("d", url if url and url[0] != "?" else f"mllp://127.0.0.1:{device.port}{url}"))
        result = await push(server, body, content_type)
        assert result.status == 400
        assert why in text_of(result)
        [frame] = responses(server)
        assert frame["contentType"] == "text/plain"
        assert (await push(server, body, content_type, waitForResponse=False)).status == 200  # and it does not go either
        await server.wait_for(lambda server: len(responses(server)) == 2)
        assert device.connections == []
        assert "$push" not in (await asyncio.to_thread(call, tmp_path, "stats"))["channels"]


async def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    port = free_port()
    async with fhir_server(port) as server, connected(server, tmp_path):
        result = await push(server, message("P1"))
        assert (result.status, text_of(result)) == (400, f"cannot connect to 127.0.0.1:{port}: Connection refused")
    assert rows(tmp_path) == [(State.REJECTED, None, text_of(result), 1)]


@pytest.mark.parametrize(
    ("asked", "codes", "final"),
    [("", ("CA", "AA"), "AA"), ("", ("AE",), "AE"), ("", ("CR",), "CR"), ("AL|NE", ("CA",), "CA"), ("", ("XX",), "XX")],
)
async def test_the_final_answer_is_what_counts(tmp_path: Path, asked: str, codes: tuple[str, ...], final: str) -> None:
    async with site(tmp_path) as (server, device, _):
        device.respond = lambda body: acknowledge(body, *codes)
        result = await push(server, message("P1").replace("|P|2.5\r", f"|P|2.5|||{asked}\r"))
        assert f"MSA|{final}|P1" in result.text


async def test_a_mute_device_holds_up_nobody_else_and_its_late_answer_is_kept(tmp_path: Path) -> None:
    async with site(tmp_path) as (server, device, _):
        device.respond = lambda body: [] if b"MUTE" in body else accept(body)
        result = await push(server, message("MUTE"), waitTimeout=100)
        assert text_of(result) == "Timeout"
        assert (await push(server, message("P1"))).status == 200
        device.connections[0].send(*acknowledge(message("MUTE").encode(), "AA"))
        await server.wait_for(lambda server: len(responses(server)) == 2)
    assert [row[0] for row in rows(tmp_path)] == [State.RESPONSE_SENT] * 2


async def test_an_answer_to_another_control_id_answers_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as (server, device, _):
        device.respond = silent
        other = asyncio.ensure_future(push(server, message("P1")))
        await device.wait_for(1)
        device.respond = lambda body: acknowledge(message("NOTMINE").encode(), "AA")
        assert text_of(await push(server, message("WRONG"), waitTimeout=100)) == "Timeout"
        device.connections[0].send(*acknowledge(message("P1").encode(), "AA"))
        assert (await other).status == 200


async def test_more_pushes_than_connections_wait_for_their_turn(tmp_path: Path) -> None:
    async with site(tmp_path, {"maxClientsPerRemote": 2}) as (server, device, _):
        results = await asyncio.gather(*(push(server, message(f"P{number}")) for number in range(7)))
        assert [f"MSA|AA|P{number}" in result.text for number, result in enumerate(results)] == [True] * 7
        assert len(device.connections) == 2


async def test_what_comes_twice_is_sent_once(tmp_path: Path) -> None:
    async with site(tmp_path) as (server, device, _):
        device.respond = silent
        frame = {
            "type": "agent:transmit:request",
            "remote": f"mllp://127.0.0.1:{device.port}",
            "contentType": HL7,
            "body": message("P1"),
            "callback": f"Agent/{AGENT_ID}-1",
        }
        server.hub.publish(AGENT_ID, frame)
        server.hub.publish(AGENT_ID, frame)
        await device.wait_for(1)
        stats: dict[str, Any] = {}
        async with asyncio.timeout(PATIENCE):
            while stats.get("duplicates") != 1:
                stats = (await asyncio.to_thread(call, tmp_path, "stats"))["channels"]["$push"]["since_start"]
        device.connections[0].send(*acknowledge(message("P1").encode(), "AA"))
        await server.wait_for(lambda server: len(responses(server)) == 1)
        server.hub.publish(AGENT_ID, frame)  # and once more, after its end
        await server.wait_for(lambda server: len(responses(server)) == 2)
        assert responses(server)[0] == responses(server)[1]
        assert len(device.received) == 1


async def test_an_answer_that_comes_while_the_server_is_away_is_given_after_the_reconnect(tmp_path: Path) -> None:
    async with site(tmp_path) as (server, device, _):
        device.respond = silent
        result = asyncio.ensure_future(push(server, message("P1")))
        await device.wait_for(1)
        server.abort_sockets()
        await server.wait_for(lambda server: server.hub.connected == 0)
        device.connections[0].send(*acknowledge(message("P1").encode(), "AA"))
        assert "MSA|AA|P1" in (await result).text


async def test_what_nobody_waits_for_is_tried_until_the_device_answers_in_order(tmp_path: Path) -> None:
    async with site(tmp_path, {"channelAutoRetryBaseDelayMs": 5}) as (server, device, _):
        device.respond = lambda body: None  # it hangs up
        for number in range(3):
            await push(server, message(f"P{number}"), waitForResponse=False)
        await device.wait_for(3)
        device.respond = accept
        await server.wait_for(lambda server: len(responses(server)) == 3)
        assert [frame["body"].split("MSA|AA|")[1].strip() for frame in responses(server)] == ["P0", "P1", "P2"]
        assert list(dict.fromkeys(device.received)) == [message(f"P{number}").encode() for number in range(3)]
    assert [row[0] for row in rows(tmp_path)] == [State.RESPONSE_SENT] * 3


async def test_the_agents_retry_settings_end_it(tmp_path: Path) -> None:
    port = free_port()
    settings = {"channelAutoRetryBaseDelayMs": 5, "channelAutoRetryMaxAttempts": 2}
    async with fhir_server(port, settings) as server, connected(server, tmp_path):
        await push(server, message("P1"), waitForResponse=False)
        await server.wait_for(lambda server: responses(server) != [])
        [frame] = responses(server)
        assert (frame["statusCode"], frame["body"]) == (400, f"cannot connect to 127.0.0.1:{port}: Connection refused")
    assert rows(tmp_path) == [(State.DEAD_LETTER, None, frame["body"], 2)]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_kill_between_request_and_answer_loses_nothing(tmp_path: Path, waits: bool) -> None:
    async with MllpServer(silent) as device, fhir_server(device.port) as server:
        arguments = server_arguments(server.base_url, AGENT_ID, tmp_path)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as first:
            await first.logged("WebSocket worker connected")
            result = asyncio.ensure_future(push(server, message("P1"), waitForResponse=waits, waitTimeout=50_000))
            await device.wait_for(1)
            await first.kill()
        device.respond = accept
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as second:
            await server.wait_for(lambda server: responses(server) != [], timeout=PATIENCE)
            assert (await result).status == 200
            assert ("MSA|AA|P1" in (await result).text) == waits
            assert device.received == [message("P1").encode()] * 2
            await second.stop()
        assert [row[0] for row in rows(tmp_path)] == [State.RESPONSE_SENT]


async def test_a_kill_between_commit_and_device_loses_nothing(tmp_path: Path) -> None:
    async with MllpServer() as device, fhir_server(device.port) as server:
        arguments = server_arguments(server.base_url, AGENT_ID, tmp_path)
        async with AgentProcess(*arguments, environ={**SERVER_ENVIRON, VARIABLE: "after_commit:1"}) as first:
            await first.logged("WebSocket worker connected")
            result = asyncio.ensure_future(push(server, message("P1"), waitTimeout=50_000))
            assert await first.wait() == -signal.SIGKILL
        assert device.received == []
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON):
            assert "MSA|AA|P1" in (await result).text
        assert device.received == [message("P1").encode()]


async def test_an_answer_that_the_server_would_not_take_ends_no_connection(tmp_path: Path) -> None:
    async with site(tmp_path, {"maxFrameBytes": 4096}) as (server, device, _):
        device.respond = lambda body: [acknowledge(body, "AA")[0] + b"ERR|" + b"x" * 4096]
        result = await push(server, message("P1"))
        assert result.status == 400
        assert "and the server takes 4096 (maxFrameBytes)" in text_of(result)
        assert server.journal.upgrades == 1
    [(state, answer, _, _)] = rows(tmp_path)
    assert (state, len(answer) > 4096) == (State.RESPONSE_SENT, True)


async def test_an_orderly_stop_gives_the_device_a_moment(tmp_path: Path) -> None:
    async with MllpServer(silent) as device, fhir_server(device.port) as server:
        async with connected(server, tmp_path):
            result = asyncio.ensure_future(push(server, message("P1")))
            await device.wait_for(1)
            asyncio.get_running_loop().call_later(
                0.05, lambda: device.connections[0].send(*acknowledge(message("P1").encode(), "AA"))
            )
        assert "MSA|AA|P1" in (await result).text
