"""HTTPS to the server by the route's rules: which certificates it accepts and shows, directly and through a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.errors import ConfigError, NotReady
from medagent.fhir.access import FhirAccess
from medagent.fhir.route import Route, make_route
from medagent.testing.certificates import Authority
from medagent.testing.fhir_server import FhirServer
from medagent.testing.handshakes import handshake_server
from medagent.testing.proxy import ConnectProxy
from medagent.testing.resources import AGENT_ID, agent_resource


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    async with ConnectProxy(login="user:p@ss") as proxy:
        yield proxy


def https_server(
    authority: Authority, name: str = "server", *hosts: str, days: float = 365.0, clients: bool = False
) -> FhirServer:
    context = authority.server_context(authority.issue(name, *hosts, days=days), clients=clients)
    return FhirServer(agent_resource(), tls=context)


async def read_agent(server: FhirServer, route: Route) -> str:
    """The Agent's id, or why it cannot be read."""
    access = FhirAccess(server.base_url, server.client_id, server.client_secret, route)
    try:
        return str((await access.client.read(f"Agent/{AGENT_ID}"))["id"])
    except NotReady as error:
        return str(error).removeprefix(f"{server.base_url}oauth2/token cannot be reached: ")
    finally:
        await access.close()


async def test_a_ca_of_our_own(authority: Authority) -> None:
    async with https_server(authority) as server:
        assert server.base_url.startswith("https://")
        assert await read_agent(server, make_route(server.base_url, ca_file=authority.ca_file, proxy="none")) == AGENT_ID


@pytest.mark.parametrize("ca", ["system", "stranger"])
async def test_a_certificate_of_an_unknown_ca_is_not_accepted(authority: Authority, stranger: Authority, ca: str) -> None:
    async with https_server(authority) as server:
        route = make_route(server.base_url, ca_file=stranger.ca_file if ca == "stranger" else None, proxy="none")
        reason = await read_agent(server, route)
    assert reason.startswith("the server's certificate is not accepted: ")
    assert reason.endswith("; give its CA with --ca-file")


@pytest.mark.parametrize(
    ("hosts", "days", "reason"),
    [
        (("127.0.0.1",), -1.0, "certificate has expired; the server needs a new one, or this machine's clock is wrong"),
        (("fhir.example.org",), 1.0, "the address in --base-url is none of those that it was made for"),
    ],
)
async def test_a_certificate_that_has_expired_or_is_anothers(
    authority: Authority, hosts: tuple[str, ...], days: float, reason: str
) -> None:
    async with https_server(authority, "odd", *hosts, days=days) as server:
        found = await read_agent(server, make_route(server.base_url, ca_file=authority.ca_file, proxy="none"))
    assert found.startswith("the server's certificate is not accepted: ")
    assert reason in found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["nothing", "a stranger's"])
async def test_a_server_that_wants_another_certificate(
    authority: Authority, stranger: Authority, shown: str, version: ssl.TLSVersion
) -> None:
    cert_file, key_file = stranger.issue("agent", "agent.example.org")
    own = {"client_cert_file": cert_file, "client_key_file": key_file} if shown == "a stranger's" else {}
    context = authority.server_context(authority.issue("server"), clients=True)
    context.maximum_version = version
    with handshake_server(context) as port:
        url = f"https://127.0.0.1:{port}/"
        access = FhirAccess(url, "c", "s", make_route(url, ca_file=authority.ca_file, proxy="none", **own))
        with pytest.raises(NotReady, match=r"the server refuses the TLS connection \(.*\); if it wants a client cert"):
            await access.tokens.get()
        await access.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_server_that_hangs_up_without_a_word(authority: Authority, way: str, version: ssl.TLSVersion) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        getattr(writer.transport, way)()

    context = authority.server_context(authority.issue("server"))
    context.maximum_version = version
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        access = FhirAccess(url, "c", "s", make_route(url, ca_file=authority.ca_file, proxy="none"))
        with pytest.raises(NotReady, match=r"; if the server wants a client certificate, check --client-cert-file$"):
            await access.tokens.get()
        await access.close()


async def test_a_server_without_tls(authority: Authority) -> None:
    async with FhirServer(agent_resource()) as server:
        access = FhirAccess(server.base_url.replace("http:", "https:"), "c", "s", Route(authority.client_context()))
        with pytest.raises(NotReady, match=r"TLS with the server fails \(.*\); check that the port"):
            await access.tokens.get()
        await access.close()


async def test_all_of_it_through_a_proxy(authority: Authority, proxy: ConnectProxy) -> None:
    cert_file, key_file = authority.issue("agent", "agent.example.org")
    async with https_server(authority, clients=True) as server:
        route = make_route(
            server.base_url,
            ca_file=authority.ca_file,
            client_cert_file=cert_file,
            client_key_file=key_file,
            proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}",
        )
        assert await read_agent(server, route) == AGENT_ID
        assert set(proxy.requests) == {f"127.0.0.1:{server.port}"}


async def test_the_server_is_looked_up_by_the_proxy(authority: Authority, proxy: ConnectProxy) -> None:
    async with https_server(authority, "named", "fhir.invalid") as server:
        proxy.target = ("127.0.0.1", server.port)
        route = make_route(
            "https://fhir.invalid/", ca_file=authority.ca_file, proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        )
        access = FhirAccess("https://fhir.invalid/", server.client_id, server.client_secret, route)
        assert await access.tokens.get()
        await access.close()
    assert proxy.requests == ["fhir.invalid:443"]


@pytest.mark.parametrize(
    ("login", "status", "reason"),
    [
        ("user:wrong@", None, "wants a user and a password, or does not accept those given (HTTP 407)"),
        ("user:p%40ss@", 502, "does not connect to the server (HTTP 502)"),
        ("user:p%40ss@", 403, "does not connect to the server (HTTP 403)"),
    ],
)
async def test_a_refusal_of_the_proxy(authority: Authority, proxy: ConnectProxy, login: str, status: int, reason: str) -> None:
    proxy.status = status
    async with https_server(authority) as server:
        route = make_route(server.base_url, ca_file=authority.ca_file, proxy=f"http://{login}127.0.0.1:{proxy.port}")
        found = await read_agent(server, route)
    assert found.startswith(f"the proxy 127.0.0.1:{proxy.port} {reason}")
    assert "wrong" not in found
    assert "p@ss" not in found


async def test_what_is_wrong_with_the_certificate_is_said_through_a_proxy_too(
    authority: Authority, stranger: Authority, proxy: ConnectProxy
) -> None:
    proxy.login = ""
    async with https_server(authority) as server:
        found = await read_agent(server, make_route(server.base_url, ca_file=stranger.ca_file, proxy=proxy.url))
    assert found.startswith("the server's certificate is not accepted: ")


async def test_the_environment_names_the_proxy(
    authority: Authority, proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.login = ""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.delenv("https_proxy", raising=False)
    async with https_server(authority) as server:
        for no_proxy, asked in (("127.0.0.0/8", 0), ("example.org", 1)):
            monkeypatch.setenv("no_proxy", no_proxy)
            assert await read_agent(server, make_route(server.base_url, ca_file=authority.ca_file)) == AGENT_ID
            assert len(proxy.requests) == asked


def test_no_older_tls(authority: Authority) -> None:
    context = make_route("https://127.0.0.1/", ca_file=authority.ca_file, proxy="none").tls
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def encrypted_key(tmp_path: Path, key_file: Path) -> Path:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"pw")
    path = tmp_path / "encrypted.key"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return path


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    cert_file, key_file = authority.issue("agent")
    _, other_key = authority.issue("other")
    empty = tmp_path / "empty.pem"
    empty.touch()
    missing = tmp_path / "missing.pem"
    for files, reason in (
        ({"ca_file": missing}, f"{missing}: No such file"),
        ({"ca_file": empty}, "no usable PEM file of certificates"),
        ({"client_cert_file": missing}, f"{missing}: No such file"),
        ({"client_cert_file": cert_file, "client_key_file": missing}, f"{missing}: No such file"),
        ({"client_cert_file": cert_file, "client_key_file": other_key}, "the key is not the certificate's"),
        ({"client_cert_file": cert_file}, "certificate with its key; if the key is in another file, give --client-key-file"),
        ({"client_cert_file": cert_file, "client_key_file": encrypted_key(tmp_path, key_file)}, "the key is encrypted"),
        ({"client_key_file": key_file}, "a key without its certificate"),
    ):
        with pytest.raises(ConfigError, match=reason):
            make_route("https://127.0.0.1/", proxy="none", **files)
    both = tmp_path / "both.pem"
    both.write_bytes(cert_file.read_bytes() + key_file.read_bytes())
    make_route("https://127.0.0.1/", client_cert_file=both, proxy="none")


@pytest.mark.parametrize("base_url", ["https://fhir.example.org/", "HTTPS://fhir.example.org/"])
def test_a_server_with_tls_is_reached_with_it_however_its_address_is_written(base_url: str) -> None:
    assert make_route(base_url, proxy="none").tls is not None
    assert make_route("http://fhir.example.org/", proxy="none").tls is None
