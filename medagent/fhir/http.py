"""One request to the FHIR server, with failures in medagent's terms."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import httpx2

from medagent.errors import NotReady
from medagent.fhir import tls
from medagent.fhir.proxy import Proxy
from medagent.fhir.route import DIRECT, Route

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
"""Seconds."""
MAX_RETRY_AFTER = 3600.0
"""A longer wish of the server, seconds, is not believed."""


class _ThroughProxy(httpx2.AsyncHTTPTransport):
    """Names the proxy in what goes wrong on the way."""

    def __init__(self, route: Route, proxy: Proxy) -> None:
        super().__init__(verify=route.tls or True, proxy=httpx2.Proxy(proxy.url))
        self._proxy = proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        through = f"through the proxy {self._proxy}"
        try:
            response = await super().handle_async_request(request)
        except httpx2.ProxyError as error:
            status = str(error).partition(" ")[0]  # what follows is the proxy's own text
            refusal = self._proxy.refusal(int(status)) if status.isdecimal() else through
            raise httpx2.ProxyError(refusal) from error
        except httpx2.TransportError as error:
            raise type(error)(f"{through}: {error}".rstrip(": ")) from error
        if response.status_code == 407:
            await response.aclose()
            raise httpx2.ProxyError(self._proxy.refusal(407))
        return response


def http_client(route: Route = DIRECT) -> httpx2.AsyncClient:
    """A client for one server; the caller closes it (`aclose` or `async with`). It follows no redirects."""
    if route.proxy is not None:
        transport: httpx2.AsyncHTTPTransport = _ThroughProxy(route, route.proxy)
    else:
        transport = httpx2.AsyncHTTPTransport(verify=route.tls or True)
    return httpx2.AsyncClient(timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT), transport=transport)


# httpx2 documents its request arguments; repeating their types here would only narrow them
async def request(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> httpx2.Response:
    """The server's response. Raises `NotReady` if there is none, or it is 429 or 5xx."""
    try:
        response = await http.request(method, url, **options)
    except httpx2.InvalidURL as error:
        raise NotReady(f"{url} is not an address: {error}") from None
    except httpx2.TimeoutException as error:
        raise NotReady(f"{url} did not answer in time {error}".rstrip()) from None
    # the library passes on what TLS says after the handshake as it is, such as that a client certificate is missing
    except (httpx2.HTTPError, OSError) as error:
        raise NotReady(f"{url} cannot be reached: {tls.fault_of(error) or str(error) or 'the connection was lost'}") from None
    if response.status_code == 429 or response.status_code >= 500:
        failure = NotReady(f"{url} answered {response.status_code} {response.reason_phrase}".rstrip())
        failure.retry_after = parse_retry_after(response.headers.get("Retry-After"), time.time())
        raise failure
    return response


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a Retry-After header (RFC 9110, 10.2.3): a number or a date; None if it is absent or neither.

    `now` is in seconds since the epoch.
    """
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        seconds = float(value[:12])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


# decoded JSON of unknown shape
def json_object(response: httpx2.Response) -> dict[str, Any] | None:
    """The response's body if it is a JSON object, else None."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
