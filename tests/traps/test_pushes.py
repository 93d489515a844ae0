"""Messages that the server has the agent send to devices (`$push`), and other requests of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.testing.bots import HL7
from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.fhir_server.operations import OperationResult
from medagent.testing.in_process import free_port
from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent.testing.resources import AGENT_ID, device_resource
from medagent.testing.site import Site, adt

DEVICE = "d0000000-0000-4000-8000-000000000001"


def pushed(body: str, content_type: str = HL7, destination: str = f"Device/{DEVICE}", wait_ms: int = 3000) -> JsonObject:
    """The arguments of a `$push` that waits."""
    return {
        "destination": destination,
        "contentType": content_type,
        "body": body,
        "waitForResponse": True,
        "waitTimeout": wait_ms,
    }


async def push(site: Site, arguments: JsonObject) -> OperationResult:
    return await site.fhir.operations.post(AGENT_ID, "$push", {}, arguments)


def text_of(result: OperationResult) -> str:
    """What a refusal says; the agent's own words, and not that nobody serves such requests."""
    assert result.resource is not None
    text: str = result.resource["issue"][0]["details"]["text"]
    assert "does not serve" not in text
    return text


async def test_the_answer_of_the_device_comes_back_byte_for_byte(tmp_path: Path) -> None:
    async with MllpServer() as receiver, Site(tmp_path, {}, devices=[device(receiver.port)]) as site:
        await site.start()
        result = await push(site, pushed(adt("P1").decode()))
        assert (result.status, result.content_type) == (200, HL7)
        [expected] = acknowledge(adt("P1"), "AA")
        assert result.text == expected.decode()
        assert receiver.received == [adt("P1")]


def device(port: int) -> JsonObject:
    return device_resource(DEVICE, f"mllp://127.0.0.1:{port}")


async def test_a_commit_acknowledgment_is_not_the_end(tmp_path: Path) -> None:
    async with (
        MllpServer(lambda body: acknowledge(body, "CA", "AE")) as receiver,
        Site(tmp_path, {}, devices=[device(receiver.port)]) as site,
    ):
        await site.start()
        result = await push(site, pushed(adt("P1").decode()))
        assert result.status == 200
        assert "MSA|AE|P1" in result.text


@pytest.mark.parametrize(
    "body",
    ["not HL7 at all", "MSH|^~\\&|LAB|HOSP", "MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01||P|2.5\rPID|1\r"],
    ids=["no HL7", "no MSH-10", "an empty MSH-10"],
)
async def test_what_cannot_be_sent_is_refused_at_once(tmp_path: Path, body: str) -> None:
    async with MllpServer() as receiver, Site(tmp_path, {}, devices=[device(receiver.port)]) as site:
        await site.start()
        result = await push(site, pushed(body))
        assert result.status == 400
        assert text_of(result) != "Timeout"


async def test_a_request_that_names_no_device_is_refused_at_once(tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        await site.start()
        frame = {"type": "agent:transmit:request", "contentType": HL7, "body": adt("P1").decode()}
        answer = await site.fhir.hub.request(AGENT_ID, frame, 5.0)
        assert answer["type"] == "agent:error" or answer["statusCode"] == 400
        assert "does not serve" not in answer["body"]


async def test_what_cannot_be_sent_harms_no_other_push(tmp_path: Path) -> None:
    def respond(body: bytes) -> list[bytes]:
        return [] if b"|HELD|" in body else acknowledge(body, "AA")

    async with MllpServer(respond) as receiver, Site(tmp_path, {}, devices=[device(receiver.port)]) as site:
        await site.start()
        held = asyncio.ensure_future(push(site, pushed(adt("HELD").decode(), wait_ms=9000)))
        await receiver.wait_for(1, timeout=2.0)
        assert (await push(site, pushed(adt("").decode()))).status == 400
        receiver.connections[0].send(*acknowledge(adt("HELD"), "AA"))
        assert (await held).status == 200


async def test_a_device_that_nobody_answers_for_is_an_error_at_once(tmp_path: Path) -> None:
    port = free_port()
    async with Site(tmp_path, {}, devices=[device(port)]) as site:
        await site.start()
        result = await push(site, pushed(adt("P1").decode()))
        assert result.status == 400
        assert text_of(result) != "Timeout"


async def test_an_acknowledgment_of_something_else_harms_no_push(tmp_path: Path) -> None:
    def respond(body: bytes) -> list[bytes]:
        assert receiver.sender is not None
        # in a read of its own, well after the other one
        asyncio.get_running_loop().call_later(0.05, receiver.sender.send, *acknowledge(body, "AA"))
        return acknowledge(adt("NOBODY"), "AA")

    async with MllpServer(respond) as receiver, Site(tmp_path, {}, devices=[device(receiver.port)]) as site:
        await site.start()
        results = await asyncio.gather(*(push(site, pushed(adt(f"P{number}").decode())) for number in range(8)))
        assert [result.status for result in results] == [200] * 8
        assert all(f"MSA|AA|P{number}" in result.text for number, result in enumerate(results))


async def test_more_pushes_than_connections_wait_for_their_turn(tmp_path: Path) -> None:
    async with (
        MllpServer() as receiver,
        Site(tmp_path, {}, settings={"maxClientsPerRemote": 2}, devices=[device(receiver.port)]) as site,
    ):
        await site.start()
        results = await asyncio.gather(*(push(site, pushed(adt(f"P{number}").decode())) for number in range(20)))
        assert [result.status for result in results] == [200] * 20
        assert len(receiver.connections) <= 2


async def test_a_mute_device_holds_up_no_other(tmp_path: Path) -> None:
    other = "d0000000-0000-4000-8000-000000000002"
    async with MllpServer(lambda _: []) as mute, MllpServer() as receiver:
        devices = [device(mute.port), device_resource(other, f"mllp://127.0.0.1:{receiver.port}")]
        async with Site(tmp_path, {}, devices=devices) as site:
            await site.start()
            held = asyncio.ensure_future(push(site, pushed(adt("P1").decode(), wait_ms=500)))
            await mute.wait_for(1, timeout=2.0)
            result = await push(site, pushed(adt("P2").decode(), destination=f"Device/{other}"))
            assert result.status == 200
            assert (await held).status == 400


async def test_an_odd_ping_is_refused(tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        await site.start()
        result = await push(site, pushed("PING x", "x-application/ping", "127.0.0.1"))
        assert result.status == 400
        assert text_of(result) != "Timeout"


@pytest.mark.parametrize("limit", ["0", "1001", "-1"])
async def test_a_limit_of_logs_out_of_range_is_refused(tmp_path: Path, limit: str) -> None:
    async with Site(tmp_path, {}) as site:
        await site.start()
        result = await site.fhir.operations.get(AGENT_ID, "$fetch-logs", {"limit": limit})
        assert result.status == 400
        assert text_of(result) != "Timeout"


async def test_logs_are_fetched_without_patient_data_or_secret(tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        await site.start()
        result = await site.fhir.operations.get(AGENT_ID, "$fetch-logs", {"limit": "5"})
        assert result.status == 200
        assert "secret" not in str(result.resource)


async def test_an_upgrade_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with Site(tmp_path, {}) as site:
        await site.start()
        result = await site.fhir.operations.get(AGENT_ID, "$upgrade", {})
        assert result.status == 400
        assert "install the new version there as the old one was installed, and restart the service" in text_of(result)


async def test_requests_are_served_while_the_agent_is_off(tmp_path: Path) -> None:
    async with Site(tmp_path, status="off") as site:
        await site.start()
        assert (await site.fhir.operations.get(AGENT_ID, "$fetch-logs", {})).status == 200


async def test_an_answer_too_long_for_the_server_is_an_error_and_costs_no_connection(tmp_path: Path) -> None:
    def respond(body: bytes) -> list[bytes]:
        return [answer + b"NTE|1||" + b"x" * 1_100_000 + b"\r" for answer in acknowledge(body, "AA")]

    async with MllpServer(respond) as receiver, Site(tmp_path, {}, devices=[device(receiver.port)]) as site:
        await site.start()
        result = await push(site, pushed(adt("P1").decode(), wait_ms=5000))
        assert result.status == 400
        assert text_of(result) != "Timeout"
        assert site.fhir.journal.upgrades == 1
