"""The HTTP side, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from medagent.testing.agent_client import AgentClient, fetch_token
from medagent.testing.fhir_server import FhirServer, HttpFailure
from medagent.testing.resources import AGENT_ID, agent_resource, device_resource, endpoint_resource

FORM = {"grant_type": "client_credentials", "client_id": "client1", "client_secret": "secret"}


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    agent = agent_resource({"adt": "ep1"}, {"batchSize": 50})
    endpoints = [endpoint_resource("ep1", "mllp://127.0.0.1:2575")]
    devices = [device_resource("d1", "mllp://127.0.0.1:1")]
    async with FhirServer(agent, endpoints, devices=devices, heartbeat_interval=None, expires_in=310) as server:
        yield server


@pytest.fixture
async def http(server: FhirServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that is logged in."""
    headers = {"Authorization": f"Bearer {await fetch_token(server.base_url)}"}
    async with httpx2.AsyncClient(base_url=server.base_url, headers=headers) as http:
        yield http


async def test_a_token_is_given_for_a_form_or_basic_credentials(server: FhirServer, http: httpx2.AsyncClient) -> None:
    answer = await http.post("oauth2/token", data=FORM)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 310)
    assert "refresh_token" not in answer.json()
    basic = await http.post("oauth2/token", data={"grant_type": "client_credentials"}, auth=("client1", "secret"))
    assert basic.status_code == 200
    assert basic.json()["access_token"] != answer.json()["access_token"]
    assert server.journal.token_requests == 3


@pytest.mark.parametrize(
    ("form", "description"),
    [
        (FORM | {"client_secret": "x"}, "Invalid secret"),
        (FORM | {"client_id": "x"}, "Invalid client"),
        (FORM | {"client_secret": ""}, "Missing client_secret"),
        (FORM | {"client_id": ""}, "Missing client_id"),
        (FORM | {"grant_type": "password"}, "Unsupported grant_type"),
    ],
)
async def test_why_no_token_is_given(http: httpx2.AsyncClient, form: dict[str, str], description: str) -> None:
    answer = await http.post("oauth2/token", data=form)
    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_request", "error_description": description}


async def test_a_json_body_is_refused(http: httpx2.AsyncClient) -> None:
    answer = await http.post("oauth2/token", json=FORM)
    assert (answer.status_code, answer.text) == (400, "Unsupported content type")


async def test_broken_basic_credentials_are_none(http: httpx2.AsyncClient) -> None:
    headers = {"Authorization": "Basic !!!"}
    answer = await http.post("oauth2/token", data={"grant_type": "client_credentials"}, headers=headers)
    assert answer.json()["error_description"] == "Missing client_id"


async def test_resources_are_read_with_meta_and_etag(http: httpx2.AsyncClient) -> None:
    answer = await http.get(f"fhir/R4/Agent/{AGENT_ID}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/fhir+json; charset=utf-8")
    assert answer.json()["setting"] == [{"name": "batchSize", "valueInteger": 50}]
    assert answer.headers["etag"] == f'W/"{answer.json()["meta"]["versionId"]}"'
    assert (await http.get("fhir/R4/Endpoint/ep1")).json()["address"] == "mllp://127.0.0.1:2575"
    assert (await http.get("auth/me")).json()["profile"]["id"] == "client1"


@pytest.mark.parametrize("path", ["fhir/R4/Endpoint/nope", "fhir/R4/Agent/$stats", "fhir/R4/job/nope/status", "nope"])
async def test_what_is_not_there_is_not_found(http: httpx2.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 404
    assert answer.json()["id"] == "not-found"


async def test_without_a_valid_token_nothing_is_told(server: FhirServer, http: httpx2.AsyncClient) -> None:
    for path in (f"fhir/R4/Agent/{AGENT_ID}", "fhir/R4/Endpoint/nope", f"fhir/R4/Agent/{AGENT_ID}/$status", "auth/me"):
        assert (await http.get(path)).status_code != 401
        assert (await http.get(path, headers={"Authorization": "Bearer x"})).status_code == 401
    server.forget_tokens()
    answer = await http.get("auth/me")
    assert (answer.status_code, answer.json()["resourceType"]) == (401, "OperationOutcome")


async def test_resources_can_be_changed(server: FhirServer, http: httpx2.AsyncClient) -> None:
    changed = endpoint_resource("ep1", "mllp://127.0.0.1:2600")
    assert (await http.put("fhir/R4/Endpoint/ep1", json=changed)).status_code == 200
    assert (await http.get("fhir/R4/Endpoint/ep1")).json()["address"] == "mllp://127.0.0.1:2600"
    assert (await http.put("fhir/R4/Endpoint/ep2", json=changed | {"id": "ep2"})).status_code == 201
    assert (await http.put("fhir/R4/Endpoint/ep3", json=changed)).status_code == 400
    server.delete("Endpoint", "ep2")
    assert (await http.get("fhir/R4/Endpoint/ep2")).status_code == 404


async def test_an_asynchronous_push_ends_as_a_job(server: FhirServer, http: httpx2.AsyncClient) -> None:
    push = {"destination": "Device/d1", "contentType": "text/plain", "body": "x", "waitForResponse": True}
    async with await AgentClient.open(server.base_url) as agent:
        await agent.connect(await fetch_token(server.base_url), AGENT_ID)
        answer = await http.post(f"fhir/R4/Agent/{AGENT_ID}/$push", json=push, headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.json()["id"]) == (202, "accepted")
        location = answer.headers["content-location"]
        assert (await http.get(location)).status_code == 202
        asked = await agent.receive()
        await agent.send({"type": "agent:transmit:response", "statusCode": 200, "body": "y", "callback": asked["callback"]})
        await server.wait_for(lambda server: server.running_jobs == 0)
    job = (await http.get(location)).json()
    assert job["status"] == "completed"
    assert job["output"]["parameter"][1] == {"name": "responseBody", "valueString": "y"}


async def test_faults_of_http(server: FhirServer, http: httpx2.AsyncClient) -> None:
    server.faults.token_failure = HttpFailure(429, retry_after=7)
    answer = await http.post("oauth2/token", data=FORM)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["id"]) == (429, "7", "too-many-requests")
    assert (await http.get("auth/me")).status_code == 200
    server.faults.token_failure = None
    server.faults.fhir_failure = HttpFailure(503)
    assert (await http.post("oauth2/token", data=FORM)).status_code == 200
    assert (await http.get(f"fhir/R4/Agent/{AGENT_ID}")).status_code == 503


async def test_a_token_request_that_hangs_counts_as_open_until_the_client_gives_up(server: FhirServer) -> None:
    def ask(http: httpx2.AsyncClient, timeout: float) -> asyncio.Future[httpx2.Response]:
        return asyncio.ensure_future(http.post("oauth2/token", data=FORM, timeout=timeout))

    async with httpx2.AsyncClient(base_url=server.base_url) as http:
        server.faults.hang_token = True
        short, long = ask(http, 0.2), ask(http, 30)
        await server.wait_for(lambda server: server.journal.token_requests == 2)
        with pytest.raises(httpx2.ReadTimeout):
            await short
        server.faults.hang_token = False
        assert (await http.post("oauth2/token", data=FORM)).status_code == 200
        assert (server.journal.token_requests, server.journal.most_token_requests) == (3, 2)
        assert not long.done()
        long.cancel()


async def test_refused_tokens_are_counted(server: FhirServer, http: httpx2.AsyncClient) -> None:
    token = await fetch_token(server.base_url)
    server.forget_tokens()
    assert (await http.get("auth/me")).status_code == 401
    async with await AgentClient.open(server.base_url) as agent:
        await agent.send({"type": "agent:connect:request", "accessToken": token, "agentId": AGENT_ID})
        await agent.receive()
        await agent.send({"type": "agent:transmit:request", "accessToken": token, "channel": "adt", "body": "MSH|"})
        await agent.receive()
    assert server.journal.refused_tokens == 3
