"""Tokens against an embedded server, with a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from medagent.errors import AuthenticationFailed, NotReady
from medagent.fhir.http import http_client
from medagent.fhir.token import JITTER, LEAST_RETRY, MARGIN, RENEW_AT, RETRY_CAP, RETRY_SHARE, TokenSource
from medagent.testing.fhir_server import FhirServer, HttpFailure
from medagent.testing.resources import agent_resource

LIFETIME = 20.0
USEFUL = LIFETIME - MARGIN
RETRY = LIFETIME * RETRY_SHARE


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
    assert USEFUL * (RENEW_AT - JITTER) <= tokens.renew_in <= USEFUL * RENEW_AT
    assert server.journal.token_requests == 1


@pytest.mark.parametrize("lifetime", [1.0, 20.0, 60.0, 3600.0])
async def test_renewal_is_relative_to_the_lifetime(
    tokens: TokenSource, server: FhirServer, clock: Clock, lifetime: float
) -> None:
    server.tokens.lifetime = lifetime
    token = await tokens.get()
    clock.now += lifetime * 0.5
    assert await tokens.get() == token
    clock.now += lifetime * 0.3
    assert await tokens.get() != token
    assert server.journal.token_requests == 2


@pytest.mark.parametrize(("lifetime", "useful"), [(4.0, 3.0), (20.0, 18.0), (3600.0, 3598.0)])
async def test_a_token_is_not_used_up_to_its_last_moment(
    tokens: TokenSource, server: FhirServer, clock: Clock, lifetime: float, useful: float
) -> None:
    server.tokens.lifetime = lifetime
    token = await tokens.get()
    clock.now += useful - 0.01
    assert tokens.current == token
    clock.now += 0.02
    assert tokens.current is None
    assert server.tokens.valid(token)


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


async def test_a_mended_secret_file_is_read_after_a_refusal(
    server: FhirServer, http: httpx2.AsyncClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "client-secret"
    file.write_text("wr0ng-s3cret")
    tokens = TokenSource(server.base_url, server.client_id, "wr0ng-s3cret", http, secret_file=file)

    async def refused() -> str:
        with pytest.raises(AuthenticationFailed) as caught:
            await tokens.get()
        return str(caught.value)

    assert f"{file} is read again for each try" in await refused()
    for text in ("", " \n", b"\xff"):
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        await refused()
    file.unlink()
    for _ in range(2):
        await refused()
    assert caplog.messages == [
        f"{file}: {fault}; the secret that was read before is tried on"
        for fault in ("it is empty", "not UTF-8 text", "No such file or directory")
    ]
    file.write_text(f"{server.client_secret}\n")
    assert await tokens.get()


async def test_a_secret_that_is_no_file_s_needs_a_restart(server: FhirServer, http: httpx2.AsyncClient) -> None:
    with pytest.raises(AuthenticationFailed, match="a mended secret is used after a restart of the agent"):
        await TokenSource(server.base_url, server.client_id, "wrong", http).get()


async def test_a_secret_that_systemd_handed_over_needs_a_restart_of_the_service(
    server: FhirServer, http: httpx2.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    tokens = TokenSource(server.base_url, server.client_id, "wrong", http, secret_file=tmp_path / "medagent-client-secret")
    with pytest.raises(AuthenticationFailed, match="mend its source and restart the service"):
        await tokens.get()


async def test_an_old_token_serves_while_renewal_fails(
    tokens: TokenSource, server: FhirServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    token = await tokens.get()
    clock.now += USEFUL * RENEW_AT
    server.faults.token_failure = HttpFailure(500)
    assert await tokens.get() == token
    assert await tokens.get() == token
    assert server.journal.token_requests == 2
    assert tokens.renew_in == pytest.approx(RETRY)
    clock.now += RETRY + 0.01
    assert await tokens.get() == token
    assert server.journal.token_requests == 3
    clock.now += LIFETIME
    with pytest.raises(NotReady, match="500"):
        await tokens.get()
    server.faults.token_failure = None
    clock.now += RETRY + 0.01
    assert await tokens.get() != token
    assert [line for line in caplog.messages if "serves on" in line] == caplog.messages[:1]


@pytest.mark.parametrize(("lifetime", "pause"), [(20.0, 1.0), (60.0, 3.0), (3600.0, RETRY_CAP)])
async def test_the_pause_after_a_failure_is_a_part_of_the_lifetime(
    tokens: TokenSource, server: FhirServer, clock: Clock, lifetime: float, pause: float
) -> None:
    server.tokens.lifetime = lifetime
    await tokens.get()
    clock.now += lifetime
    server.faults.token_failure = HttpFailure(503)
    for number in range(3):
        for _ in range(2):
            with pytest.raises(NotReady, match="503"):
                await tokens.get()
        assert server.journal.token_requests == 2 + number
        assert tokens.renew_in == pytest.approx(pause)
        clock.now += pause + 0.01


async def test_before_the_first_token_nobody_is_held_back(tokens: TokenSource, server: FhirServer) -> None:
    server.faults.token_failure = HttpFailure(503)
    for number in range(3):
        with pytest.raises(NotReady):
            await tokens.get()
        assert server.journal.token_requests == 1 + number


async def test_a_refused_token_keeps_the_pause_of_a_failure(tokens: TokenSource, server: FhirServer, clock: Clock) -> None:
    token = await tokens.get()
    server.faults.token_failure = HttpFailure(503)
    tokens.invalidate(token)
    with pytest.raises(NotReady):
        await tokens.get()
    assert tokens.renew_in == pytest.approx(RETRY)


async def test_a_server_that_wants_to_be_left_alone_is(tokens: TokenSource, server: FhirServer, clock: Clock) -> None:
    server.faults.token_failure = HttpFailure(429, retry_after=17)
    with pytest.raises(NotReady) as caught:
        await tokens.get()
    assert caught.value.retry_after == 17.0
    server.faults.token_failure = None
    clock.now += 16
    with pytest.raises(NotReady, match="429") as caught:
        await tokens.get()
    assert caught.value.retry_after == pytest.approx(1.0)
    assert tokens.renew_in == pytest.approx(1.0)
    assert server.journal.token_requests == 1
    clock.now += 1.01
    await tokens.get()
    assert server.journal.token_requests == 2


async def test_a_server_that_does_not_answer_is_given_up_before_the_old_token_ends(
    tokens: TokenSource, server: FhirServer, clock: Clock
) -> None:
    server.tokens.lifetime = 1.0
    token = await tokens.get()
    clock.now += 0.7
    server.faults.hang_token = True
    assert await asyncio.wait_for(tokens.get(), 5) == token
    server.faults.hang_token = False
    clock.now += 0.06
    assert await tokens.get() != token
    assert server.journal.most_token_requests == 1


async def slow_endpoint(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives a token of an hour, after longer than any share of a lifetime of a second."""
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.6)
    body = b'{"access_token":"slow","expires_in":3600}'
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    writer.close()


async def test_once_a_short_token_has_ended_a_slow_endpoint_is_waited_for(
    server: FhirServer, http: httpx2.AsyncClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.tokens.lifetime = 1.0
    tokens = TokenSource(server.base_url, server.client_id, server.client_secret, http, clock=clock)
    await tokens.get()
    clock.now += 1.0
    async with await asyncio.start_server(slow_endpoint, "127.0.0.1", 0) as slow:
        monkeypatch.setattr(tokens, "_url", f"http://127.0.0.1:{slow.sockets[0].getsockname()[1]}/")
        assert await tokens.get() == "slow"


async def test_without_a_token_nobody_is_asked_more_than_once_a_second(
    tokens: TokenSource, server: FhirServer, clock: Clock
) -> None:
    server.tokens.lifetime = 1.0
    await tokens.get()
    clock.now += 1.0
    server.faults.token_failure = HttpFailure(503)
    with pytest.raises(NotReady, match="503"):
        await tokens.get()
    assert tokens.renew_in == pytest.approx(LEAST_RETRY)


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
        clock.now += 3597
        assert tokens.current == "t"


@pytest.mark.parametrize(
    "token", ["eyCANARY\nabc", "eyCANARY\n", "eyCANARY abc", "eyCANARY\u20ac", "eyCANARY\ud800", "y" * 16_385]
)
async def test_a_token_that_cannot_be_sent_is_none_and_is_not_quoted(token: str) -> None:
    answer = json.dumps({"access_token": token, "expires_in": 60}).encode()
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, content=answer))
    async with httpx2.AsyncClient(transport=transport) as http:
        tokens = TokenSource("http://127.0.0.1/", "c", "s", http)
        with pytest.raises(NotReady, match="a token that no request can carry") as caught:
            await tokens.get()
    assert tokens.current is None
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            {"error_description": "Invalid secret: s3cret\nFAKE LINE \x1b[2J"},
            r"Invalid secret: \(the secret\)\\nFAKE LINE \\x1b\[2J;",
        ),
        ({"error_description": "y" * 100_000}, "y{200}…;"),
        ({"error": {"client_secret": "s3cret"}}, "HTTP 400;"),
    ],
)
async def test_what_the_token_endpoint_says_is_quoted_with_care(error: dict[str, object], shown: str) -> None:
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(400, json={"error": "invalid_request"} | error))
    async with httpx2.AsyncClient(transport=transport) as http:
        with pytest.raises(AuthenticationFailed, match=f"refuses client 'c': {shown}") as caught:
            await TokenSource("http://127.0.0.1/", "c", "s3cret", http).get()
    assert "s3cret" not in str(caught.value)
