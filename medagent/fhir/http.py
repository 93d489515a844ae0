"""One request to the FHIR server, with failures in medagent's terms."""

from __future__ import annotations

import asyncio
import email.utils
import os
import socket
import ssl
import time
from typing import Any

import httpx2

from medagent.errors import NotReady
from medagent.fhir import tls
from medagent.fhir.route import DIRECT, Route
from medagent.printable import printable

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
"""Seconds; `READ_TIMEOUT` is for a whole exchange, however its bytes come."""
MAX_BYTES = 16 * 1024 * 1024
"""The longest answer that is read, unless a request has a limit of its own."""
MAX_REASON = 200
"""Characters of what a server says that are quoted."""
MAX_RETRY_AFTER = 3600.0
"""A longer wish of the server, seconds, is not believed."""


class _Transport(httpx2.AsyncHTTPTransport):
    """Has what goes wrong on the way give the system's reason, and names the proxy."""

    def __init__(self, route: Route) -> None:
        # a context that trusts nobody takes the place of the library's, which reads the system's CAs
        tls = route.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().__init__(verify=tls, proxy=httpx2.Proxy(route.proxy.url) if route.proxy is not None else None)
        self._proxy = route.proxy

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        through = f"through the proxy {self._proxy}" if self._proxy is not None else ""
        try:
            response = await super().handle_async_request(request)
        except httpx2.ProxyError as error:
            status = str(error).partition(" ")[0]  # what follows is the proxy's own text
            refusal = self._proxy.refusal(int(status)) if self._proxy is not None and status.isdecimal() else through
            raise httpx2.ProxyError(refusal) from error
        except httpx2.TransportError as error:
            reason = system_reason(error) or str(error)
            if request.url.scheme == "https" and _hung_up(error):
                reason = f"{reason.rstrip('.')}; if the server wants a client certificate, check --client-cert-file"
            raise type(error)(": ".join(part for part in (through, reason) if part)) from error
        if self._proxy is not None and response.status_code == 407:
            await response.aclose()
            raise httpx2.ProxyError(self._proxy.refusal(407))
        return response


def system_reason(error: BaseException | None) -> str:
    """What the operating system says behind an error, such as `Connection refused`; "" if nothing of it is there."""
    while error is not None:
        if isinstance(error, BaseExceptionGroup):  # an attempt for each address of a name
            return ", ".join(dict.fromkeys(filter(None, map(system_reason, error.exceptions))))
        if isinstance(error, socket.gaierror):
            return error.strerror or str(error)
        if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
            return os.strerror(error.errno)
        error = error.__cause__ or error.__context__
    return ""


def _hung_up(error: httpx2.TransportError) -> bool:
    """The server took the request and ended the connection."""
    return isinstance(error, httpx2.ReadError) or (
        isinstance(error, httpx2.RemoteProtocolError) and "disconnected" in str(error)
    )


def http_client(route: Route = DIRECT) -> httpx2.AsyncClient:
    """A client for one server; the caller closes it (`aclose` or `async with`). It follows no redirects."""
    timeout = httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    return httpx2.AsyncClient(timeout=timeout, transport=_Transport(route))


# httpx2 documents its request arguments; repeating their types here would only narrow them
async def request(
    http: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    patience: float = READ_TIMEOUT,
    max_bytes: int = MAX_BYTES,
    **options: Any,
) -> httpx2.Response:
    """The server's response. `patience`: seconds for all of it; `max_bytes`: of its body.

    Raises `NotReady` if there is none, it is too long, or it is 429 or 5xx.
    """
    try:
        async with asyncio.timeout(patience):
            response = await _exchange(http, method, url, max_bytes, options)
    except httpx2.InvalidURL as error:
        raise NotReady(f"{url} is not an address: {error}") from None
    except (httpx2.TimeoutException, TimeoutError) as error:
        raise NotReady(f"{url} did not answer in time {error}".rstrip()) from None
    except httpx2.LocalProtocolError:  # its text quotes the header, with the token
        raise NotReady(f"{url} cannot be asked: the request would not be valid HTTP") from None
    # the library passes on what TLS says after the handshake as it is, such as that a client certificate is missing
    except (httpx2.HTTPError, OSError) as error:
        reason = tls.fault_of(error) or printable(str(error), MAX_REASON) or "the connection was lost"
        raise NotReady(f"{url} cannot be reached: {reason}") from None
    if response.status_code == 429 or response.status_code >= 500:
        phrase = printable(response.reason_phrase, MAX_REASON)
        failure = NotReady(f"{url} answered {response.status_code} {phrase}".rstrip())
        failure.retry_after = parse_retry_after(response.headers.get("Retry-After"), time.time())
        raise failure
    return response


# options: as for `request`
async def _exchange(
    http: httpx2.AsyncClient, method: str, url: str, max_bytes: int, options: dict[str, Any]
) -> httpx2.Response:
    # asked for without a content coding: the length of what a coding unpacks to would be known only when it is in memory
    headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
    async with http.stream(method, url, headers=headers, **options) as response:
        coding = response.headers.get("Content-Encoding", "identity")
        if coding.strip().lower() not in ("", "identity"):
            raise NotReady(f"{url} answers in a content coding, though it was asked for none; check the server or its proxy")
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > max_bytes:
                raise NotReady(f"{url} answers with more than {max_bytes} bytes, which are not taken; check --base-url")
        return httpx2.Response(
            response.status_code, headers=response.headers, content=bytes(body), extensions=response.extensions
        )


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
