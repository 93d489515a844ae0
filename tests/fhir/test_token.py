"""Tokens against an embedded server, with a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from medagent.errors import AuthenticationFailed, NotReady
from medagent.fhir.http import http_client
from medagent.fhir.token import JITTER, RENEW_AT, RETRY_RENEWAL, TokenSource
from medagent.testing.fhir_server import FhirServer, HttpFailure
from medagent.testing.resources import agent_resource

LIFETIME = 100.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with http_client() as client:
        yield client


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[FhirServer]:
    async with FhirServer(agent_resource(), expires_in=LIFETIME, clock=clock) as server:
        yield server


@pytest.fixture
def tokens(server: FhirServer, http: httpx2.AsyncClient, clock: Clock) -> TokenSource:
    return TokenSource(server.base_url, server.client_id, server.client_secret, http, clock=clock)


async def test_a_token_is_kept(tokens: TokenSource, server: FhirServer) -> None:
    assert tokens.current is None
    assert tokens.renew_in == 0.0
    token = await tokens.get()
    assert await tokens.get() == token == tokens.current
    assert LIFETIME * (RENEW_AT - JITTER) <= tokens.renew_in <= LIFETIME * RENEW_AT
    assert server.journal.token_requests == 1


async def test_renewal_is_relative_to_the_lifetime(tokens: TokenSource, server: FhirServer, clock: Clock) -> None:
    token = await tokens.get()
    clock.now += LIFETIME * (RENEW_AT - JITTER) - 1
    assert await tokens.get() == token
    clock.now += LIFETIME * JITTER + 1
    assert tokens.current == token
    assert await tokens.get() != token
    assert server.journal.token_requests == 2


async def test_an_expired_token_is_never_given(tokens: TokenSource, clock: Clock) -> None:
    await tokens.get()
    clock.now += LIFETIME
    assert tokens.current is None


async def test_one_request_for_all_who_ask(tokens: TokenSource, server: FhirServer) -> None:
    assert len(set(await asyncio.gather(*(tokens.get() for _ in range(20))))) == 1
    assert server.journal.token_requests == 1


async def test_one_failed_request_for_all_who_ask(tokens: TokenSource, server: FhirServer) -> None:
    server.faults.token_failure = HttpFailure(503)
    results = await asyncio.gather(*(tokens.get() for _ in range(20)), return_exceptions=True)
    assert {type(result) for result in results} == {NotReady}
    assert len({id(result) for result in results}) == 20
    assert server.journal.token_requests == 1


async def test_a_cancelled_asker_harms_no_other(tokens: TokenSource) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(tokens.get())
        second = group.create_task(tokens.get())
        await asyncio.sleep(0)
        first.cancel()
    assert second.result() == tokens.current


async def test_invalidate(tokens: TokenSource) -> None:
    token = await tokens.get()
    tokens.invalidate("another")
    assert tokens.current == token
    tokens.invalidate(token)
    assert tokens.current is None
    assert await tokens.get() != token


@pytest.mark.parametrize(("client_id", "secret"), [("client1", "wr0ng-s3cret"), ("nobody", "wr0ng-s3cret")])
async def test_refused_credentials(server: FhirServer, http: httpx2.AsyncClient, client_id: str, secret: str) -> None:
    tokens = TokenSource(server.base_url, client_id, secret, http)
    with pytest.raises(AuthenticationFailed) as caught:
        await tokens.get()
    assert f"refuses client '{client_id}': Invalid " in str(caught.value)
    assert "--client-id" in str(caught.value)
    assert secret not in str(caught.value)


async def test_an_old_token_serves_while_renewal_fails(tokens: TokenSource, server: FhirServer, clock: Clock) -> None:
    token = await tokens.get()
    clock.now += LIFETIME * RENEW_AT
    server.faults.token_failure = HttpFailure(500)
    assert await tokens.get() == token
    assert await tokens.get() == token
    assert server.journal.token_requests == 2
    assert tokens.renew_in == RETRY_RENEWAL
    clock.now += RETRY_RENEWAL
    assert await tokens.get() == token
    assert server.journal.token_requests == 3
    clock.now += LIFETIME
    with pytest.raises(NotReady, match="500"):
        await tokens.get()
    server.faults.token_failure = None
    assert await tokens.get() != token


async def test_retry_after_is_passed_on(tokens: TokenSource, server: FhirServer) -> None:
    server.faults.token_failure = HttpFailure(429, retry_after=17)
    with pytest.raises(NotReady) as caught:
        await tokens.get()
    assert caught.value.retry_after == 17.0


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(200, content=b"<html>"),
        httpx2.Response(200, json={"access_token": 5}),
        httpx2.Response(404, content=b"not found"),
        httpx2.Response(400, content=b"bad request"),
        httpx2.Response(302, headers={"Location": "/login"}),
    ],
)
async def test_a_server_that_is_something_else(response: httpx2.Response) -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _request: response)) as http:
        with pytest.raises(NotReady, match="check --base-url"):
            await TokenSource("http://127.0.0.1/", "c", "s", http).get()


@pytest.mark.parametrize("expires_in", [None, "3600", -1, 0, 1e300])
async def test_an_unusable_lifetime_is_an_hour(expires_in: object, clock: Clock) -> None:
    answer = {"access_token": "t", "expires_in": expires_in}
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=answer))
    async with httpx2.AsyncClient(transport=transport) as http:
        tokens = TokenSource("http://127.0.0.1/", "c", "s", http, clock=clock)
        assert await tokens.get() == "t"
        clock.now += 3599
        assert tokens.current == "t"
