"""The WebSocket over TLS and through proxies, with real sockets: what is accepted, and what is said of what is not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from medagent.fhir.proxy import Proxy
from medagent.fhir.route import Route, make_route
from medagent.testing.certificates import Authority
from medagent.testing.handshakes import handshake_server
from medagent.testing.proxy import ConnectProxy
from medagent.testing.uplink import UplinkWorld, messages, port_of

TIMEOUT = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def world() -> AsyncIterator[UplinkWorld]:
    world = UplinkWorld()
    async with asyncio.timeout(TIMEOUT):
        yield world
        await world.stop()


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with ConnectProxy(login="user:s3cret") as proxy:
        yield proxy


def tls_server(world: UplinkWorld, identity: tuple[Path, Path], authority: Authority, *, clients: bool = False) -> serve:
    return serve(world.server, "127.0.0.1", 0, ssl=authority.server_context(identity, clients=clients))


def use(world: UplinkWorld, server: Server, scheme: str = "https") -> str:
    world.server.base_url = f"{scheme}://127.0.0.1:{port_of(server)}/"
    return world.server.base_url


async def reason(world: UplinkWorld, base_url: str = "") -> str:
    """Why the uplink does not connect, after two tries."""
    world.start(base_url)
    await world.core.until(lambda: len(world.delays) == 2)
    return world.uplink.status.detail


async def exchange(world: UplinkWorld) -> None:
    uplink = await world.connected()
    assert uplink.transmit(messages(1)) == 1
    await world.core.until(lambda: world.core.batches)


async def test_wss_with_a_ca_and_a_client_certificate(world: UplinkWorld, authority: Authority) -> None:
    cert_file, key_file = authority.issue("agent", "agent.example.org")
    async with tls_server(world, authority.issue("server"), authority, clients=True) as server:
        url = use(world, server)
        world.route = make_route(
            url, ca_file=authority.ca_file, client_cert_file=cert_file, client_key_file=key_file, proxy="none"
        )
        await exchange(world)


async def test_wss_through_a_proxy(world: UplinkWorld, authority: Authority, proxy: ConnectProxy) -> None:
    async with tls_server(world, authority.issue("server"), authority) as server:
        world.route = make_route(use(world, server), ca_file=authority.ca_file, proxy=proxy.url)
        await exchange(world)
        assert proxy.requests == [f"127.0.0.1:{port_of(server)}"]


async def test_ws_through_a_proxy(world: UplinkWorld, proxy: ConnectProxy) -> None:
    async with serve(world.server, "127.0.0.1", 0) as server:
        world.route = make_route(use(world, server, "http"), proxy=proxy.url)
        await exchange(world)
        assert proxy.requests == [f"127.0.0.1:{port_of(server)}"]


@pytest.mark.parametrize(
    ("hosts", "days", "text"),
    [
        (("127.0.0.1",), 1.0, "give its CA with --ca-file"),
        (("127.0.0.1",), -1.0, "certificate has expired; the server needs a new one"),
        (("fhir.example.org",), 1.0, "the address in --base-url is none of those"),
    ],
    ids=["unknown CA", "expired", "another name"],
)
@pytest.mark.parametrize("proxied", [False, True])
async def test_a_certificate_that_is_not_accepted(
    world: UplinkWorld, authority: Authority, proxy: ConnectProxy, hosts: tuple[str, ...], days: float, text: str, proxied: bool
) -> None:
    known = "CA" not in text
    async with tls_server(world, authority.issue("odd", *hosts, days=days), authority) as server:
        world.route = make_route(
            use(world, server), ca_file=authority.ca_file if known else None, proxy=proxy.url if proxied else "none"
        )
        found = await reason(world)
    assert found.startswith("the server's certificate is not accepted: ")
    assert text in found
    assert world.server.connects == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_misses_the_client_certificate(
    world: UplinkWorld, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.server_context(authority.issue("server"), clients=True)
    context.maximum_version = version
    with handshake_server(context) as port:
        url = f"https://127.0.0.1:{port}/"
        world.route = make_route(url, ca_file=authority.ca_file, proxy="none")
        found = await reason(world, url)
    assert found.startswith("the server refuses the TLS connection (")
    assert "--client-cert-file" in found


@pytest.mark.parametrize(
    ("login", "status", "text"),
    [
        ("", None, "wants a user and a password, or does not accept those given (HTTP 407)"),
        ("user:wr0ng@", None, "wants a user and a password, or does not accept those given (HTTP 407)"),
        ("user:s3cret@", 502, "does not connect to the server (HTTP 502)"),
    ],
)
async def test_a_refusal_of_the_proxy(
    world: UplinkWorld, proxy: ConnectProxy, login: str, status: int | None, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.status = status
    world.route = make_route("http://127.0.0.1:1/", proxy=f"http://{login}127.0.0.1:{proxy.port}")
    found = await reason(world, "http://127.0.0.1:1/")
    assert found.startswith(f"the proxy 127.0.0.1:{proxy.port} {text}")
    for secret in ("s3cret", "wr0ng"):
        assert secret not in f"{found} {world.uplink.status} {caplog.text}"


async def test_a_proxy_that_cannot_be_used_is_named(world: UplinkWorld, authority: Authority) -> None:
    world.route = Route(proxy=Proxy("127.0.0.1", 1, "user", "s3cret"))
    found = await reason(world, "http://127.0.0.1:2/")
    assert found.startswith("the server cannot be reached through the proxy 127.0.0.1:1: ")


async def test_a_proxy_that_speaks_something_else(world: UplinkWorld) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        world.route = Route(proxy=Proxy("127.0.0.1", port_of(server)))
        assert await reason(world, "http://127.0.0.1:2/") == f"what answers at 127.0.0.1:{port_of(server)} is no HTTP proxy"


async def test_a_proxy_that_never_answers_is_given_up(world: UplinkWorld, proxy: ConnectProxy) -> None:
    proxy.silent = True
    world.route = make_route("http://127.0.0.1:2/", proxy=proxy.url)
    world.start("http://127.0.0.1:2/", open_timeout=0.05)
    await world.core.until(lambda: len(world.delays) == 2)
    assert world.uplink.status.detail == f"the server does not answer in time through the proxy 127.0.0.1:{proxy.port}"


async def test_it_connects_once_the_proxy_lets_it(world: UplinkWorld, proxy: ConnectProxy) -> None:
    proxy.status = 503
    async with serve(world.server, "127.0.0.1", 0) as server:
        world.route = make_route(use(world, server, "http"), proxy=proxy.url)
        assert "HTTP 503" in await reason(world)
        proxy.status = None
        await world.core.until(lambda: "connected" in world.core.calls)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(world: UplinkWorld, status: int) -> None:
    async with serve(world.server, "127.0.0.1", 0) as elsewhere:

        def redirect(connection: ServerConnection, _: Request) -> Response:
            response = connection.respond(status, "")
            response.headers["Location"] = f"http://127.0.0.1:{port_of(elsewhere)}/ws/agent"
            return response

        async with serve(world.server, "127.0.0.1", 0, process_request=redirect) as server:
            found = await reason(world, use(world, server, "http"))
    assert (
        found
        == f"the server answers the WebSocket upgrade with HTTP {status}, a redirect, which is not followed: check --base-url"
    )
    assert world.server.connects == 0


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_that_wants_to_be_left_alone_is(world: UplinkWorld, status: int) -> None:
    asked = []

    def busy(connection: ServerConnection, request: Request) -> Response:
        asked.append(request)
        response = connection.respond(status, "")
        response.headers["Retry-After"] = "77"
        return response

    async with serve(world.server, "127.0.0.1", 0, process_request=busy) as server:
        assert f"HTTP {status}" in await reason(world, use(world, server, "http"))
        await world.stop()
    assert set(world.delays) == {77.0}
    assert len(asked) <= len(world.delays) + 1
