"""Which proxy, by the setting and the environment; and HTTP through one, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from medagent.errors import ConfigError, NotReady
from medagent.fhir.access import FhirAccess
from medagent.fhir.http import http_client, request
from medagent.fhir.proxy import Proxy, find_proxy
from medagent.fhir.route import Route
from medagent.testing.fhir_server import FhirServer
from medagent.testing.proxy import ConnectProxy
from medagent.testing.resources import AGENT_ID, agent_resource

SERVER = "https://fhir.example.org/"
PROXIES = {"HTTPS_PROXY": "http://secure:3128", "HTTP_PROXY": "http://plain:3128", "ALL_PROXY": "http://all:3128"}


@pytest.mark.parametrize(
    ("setting", "url", "environ", "proxy"),
    [
        ("", SERVER, {}, None),
        ("", SERVER, PROXIES, "secure:3128"),
        ("", "http://fhir.example.org/", PROXIES, "plain:3128"),
        ("", "http://fhir.example.org/", {"ALL_PROXY": "http://all:3128"}, "all:3128"),
        ("", SERVER, {"https_proxy": "", **PROXIES}, "all:3128"),
        ("", SERVER, {"https_proxy": "http://lower:1", "HTTPS_PROXY": "http://upper:1"}, "lower:1"),
        ("", SERVER, {"HTTPS_PROXY": "proxy.example.org"}, "proxy.example.org:80"),
        ("", SERVER, {"HTTPS_PROXY": "socks5://p", "NO_PROXY": "*"}, None),
        ("none", SERVER, PROXIES, None),
        ("http://mine:8080/", SERVER, {**PROXIES, "NO_PROXY": "*"}, "mine:8080"),
        ("http://[::1]:8080", SERVER, {}, "[::1]:8080"),
    ],
)
def test_the_setting_goes_before_the_environment(setting: str, url: str, environ: Mapping[str, str], proxy: str | None) -> None:
    found = find_proxy(setting, url, environ)
    assert (str(found) if found else None) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", SERVER, True),
        ("other.org, FHIR.example.org", SERVER, True),
        ("example.org", SERVER, True),
        (".example.org", SERVER, True),
        ("*.example.org", SERVER, True),
        ("ample.org", SERVER, False),
        ("fhir.example.org:443", SERVER, True),
        ("fhir.example.org:8443", SERVER, False),
        ("10.1.0.0/16", "https://10.1.2.3:8443/", True),
        ("10.1.0.0/16", "https://10.2.2.3/", False),
        ("10.1.2.3:8443", "https://10.1.2.3:8443/", True),
        ("2.3", "https://10.1.2.3/", False),
        ("fd00::/8", "https://[fd00::7]/", True),
        ("[fd00::7]:443", "https://[fd00::7]/", True),
        ("", SERVER, False),
    ],
)
def test_no_proxy(no_proxy: str, url: str, direct: bool) -> None:
    assert (find_proxy("", url, {"ALL_PROXY": "http://p:1", "NO_PROXY": no_proxy}) is None) == direct


@pytest.mark.parametrize(
    "address", ["socks5://u:s3cret@p:1", "https://u:s3cret@p", "http://u:s3cret@p:port", "http://u:s3cret@p/path", "http://"]
)
@pytest.mark.parametrize("origin", ["--proxy", "HTTPS_PROXY"])
def test_an_address_that_is_none_is_refused_and_not_quoted(address: str, origin: str) -> None:
    with pytest.raises(ConfigError, match=f"^{origin}: not the address of an HTTP proxy") as caught:
        find_proxy(address if origin == "--proxy" else "", SERVER, {"HTTPS_PROXY": address})
    assert "s3cret" not in str(caught.value)


def test_a_login_is_in_the_url_only() -> None:
    proxy = find_proxy("http://d%40vid:p%2Fw@p:3128", SERVER, {})
    assert proxy == Proxy("p", 3128, "d@vid", "p/w")
    assert proxy.url == "http://d%40vid:p%2Fw@p:3128"
    assert "vid" not in f"{proxy} {proxy!r} {proxy.refusal(407)} {proxy.refusal(502)}"


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    async with FhirServer(agent_resource()) as server:
        yield server


async def read_agent(server: FhirServer, proxy: Proxy) -> str:
    """The Agent's id by way of a proxy, or why that fails."""
    access = FhirAccess(server.base_url, server.client_id, server.client_secret, Route(proxy=proxy))
    try:
        return str((await access.client.read(f"Agent/{AGENT_ID}"))["id"])
    except NotReady as error:
        return str(error)
    finally:
        await access.close()


async def test_a_proxy_that_is_not_there_is_named(server: FhirServer) -> None:
    reason = await read_agent(server, Proxy("127.0.0.1", 1, "user", "s3cret"))
    assert reason == f"{server.base_url}oauth2/token cannot be reached: through the proxy 127.0.0.1:1: Connection refused"
    assert "s3cret" not in reason
    assert server.journal.token_requests == 0


@pytest.mark.parametrize(("status", "reason"), [(407, "wants a user and a password"), (405, "answered 405 without a token")])
async def test_a_refusal_of_a_plain_request(server: FhirServer, status: int, reason: str) -> None:
    async with ConnectProxy(login="u:p" if status == 407 else "") as proxy:
        assert reason in await read_agent(server, Proxy("127.0.0.1", proxy.port))


async def test_a_proxy_that_never_answers_is_named() -> None:
    async with ConnectProxy() as proxy:
        proxy.silent = True
        async with http_client(Route(proxy=Proxy("127.0.0.1", proxy.port))) as http:
            with pytest.raises(NotReady, match=f"did not answer in time through the proxy 127.0.0.1:{proxy.port}$"):
                await request(http, "GET", "http://127.0.0.1:1/", timeout=0.05)
