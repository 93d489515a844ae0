"""Reading resources from an embedded server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from medagent.errors import AuthenticationFailed, NotReady
from medagent.fhir.client import FhirClient, ResourceNotReadable
from medagent.fhir.http import http_client
from medagent.fhir.token import TokenSource
from medagent.testing.fhir_server import FhirServer, HttpFailure
from medagent.testing.resources import AGENT_ID, agent_resource

TOKEN = {"access_token": "t", "expires_in": 3600}


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    async with FhirServer(agent_resource(settings={"batchSize": 50})) as server:
        yield server


@pytest.fixture
async def client(server: FhirServer) -> AsyncIterator[FhirClient]:
    async with http_client() as http:
        tokens = TokenSource(server.base_url, server.client_id, server.client_secret, http)
        yield FhirClient(server.base_url, tokens, http)


async def test_read(client: FhirClient) -> None:
    agent = await client.read(f"Agent/{AGENT_ID}")
    assert agent["setting"] == [{"name": "batchSize", "valueInteger": 50}]
    assert agent["id"] == AGENT_ID


async def test_a_refused_token_is_renewed_once(client: FhirClient, server: FhirServer) -> None:
    await client.read(f"Agent/{AGENT_ID}")
    server.forget_tokens()
    assert (await client.read(f"Agent/{AGENT_ID}"))["id"] == AGENT_ID
    assert server.journal.token_requests == 2


async def test_missing_resources_say_what_to_check(client: FhirClient, server: FhirServer) -> None:
    with pytest.raises(ResourceNotReadable) as caught:
        await client.read("Agent/x")
    expected = f"Agent/x does not exist on {server.base_url}, or this client may not read it: check --agent-id"
    assert str(caught.value) == expected
    with pytest.raises(ResourceNotReadable, match=r"may not read it$"):
        await client.read("Endpoint/x")


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_in_trouble(client: FhirClient, server: FhirServer, status: int) -> None:
    server.faults.fhir_failure = HttpFailure(status, retry_after=3)
    with pytest.raises(NotReady, match=str(status)) as caught:
        await client.read(f"Agent/{AGENT_ID}")
    assert caught.value.retry_after == 3.0


async def test_a_server_that_is_gone(client: FhirClient, server: FhirServer) -> None:
    await client.read(f"Agent/{AGENT_ID}")
    await server.close()
    with pytest.raises(NotReady):
        await client.read(f"Agent/{AGENT_ID}")


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (httpx2.Response(401), AuthenticationFailed, "gives tokens and refuses them"),
        (httpx2.Response(403), ResourceNotReadable, "access policy"),
        (httpx2.Response(200, content=b"<html>"), NotReady, "check --base-url"),
        (httpx2.Response(302), NotReady, "check --base-url"),
    ],
)
async def test_odd_answers(response: httpx2.Response, error: type[Exception], message: str) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=TOKEN) if request.url.path == "/oauth2/token" else response

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        client = FhirClient("http://127.0.0.1", TokenSource("http://127.0.0.1", "c", "s", http), http)
        with pytest.raises(error, match=message):
            await client.read("Agent/1")


async def test_a_base_url_with_a_path_and_no_slash() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json=TOKEN)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        base = "http://127.0.0.1/medplum"
        await FhirClient(base, TokenSource(base, "c", "s", http), http).read("Agent/1")
    assert [request.url.path for request in seen] == ["/medplum/oauth2/token", "/medplum/fhir/R4/Agent/1"]
    assert seen[1].headers["Accept"] == "application/fhir+json"
    assert "X-Medplum" not in seen[1].headers
