"""One request to the FHIR server, with failures in medagent's terms."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import httpx2

from medagent.errors import NotReady

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 20.0
"""Seconds."""
MAX_RETRY_AFTER = 3600.0
"""A longer wish of the server, seconds, is not believed."""


def http_client() -> httpx2.AsyncClient:
    """A client for one server; the caller closes it (`aclose` or `async with`)."""
    return httpx2.AsyncClient(timeout=httpx2.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT))


# httpx2 documents its request arguments; repeating their types here would only narrow them
async def request(http: httpx2.AsyncClient, method: str, url: str, **options: Any) -> httpx2.Response:
    """The server's response. Raises `NotReady` if there is none, or it is 429 or 5xx."""
    try:
        response = await http.request(method, url, **options)
    except httpx2.InvalidURL as error:
        raise NotReady(f"{url} is not an address: {error}") from None
    except httpx2.TimeoutException:
        raise NotReady(f"{url} did not answer in time") from None
    except httpx2.HTTPError as error:
        raise NotReady(f"{url} cannot be reached: {error}") from None
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
