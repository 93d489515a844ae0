"""Access tokens by the OAuth2 client credentials grant (RFC 6749, 4.4)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx2

from medagent.errors import AuthenticationFailed, MedagentError, NotReady
from medagent.fhir.http import json_object, request

RENEW_AT = 0.8
"""Share of a token's lifetime after which it is renewed, whatever that lifetime is."""
JITTER = 0.05
"""Share of the lifetime by which the renewal comes earlier at random, so that agents do not ask all at once."""
DEFAULT_LIFETIME = 3600.0
"""When the server does not say (RFC 6749, 5.1: `expires_in` is only recommended), seconds."""
RETRY_RENEWAL = 5.0
"""Least pause before a failed renewal is tried again while the old token still works, seconds."""


@dataclass(slots=True)
class _Token:
    value: str
    renew_at: float
    expires_at: float


class TokenSource:
    """Gives access tokens: asks for one when it must, never twice at a time."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        http: httpx2.AsyncClient,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/oauth2/token"
        self._form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self._http = http
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: _Token | None = None
        self._requests = 0
        self._failure: MedagentError | None = None

    @property
    def current(self) -> str | None:
        """The token if there is one that has not expired; asks nobody."""
        if self._token is not None and self._clock() < self._token.expires_at:
            return self._token.value
        return None

    @property
    def renew_in(self) -> float:
        """Seconds until `get` would ask the server; 0 when it would now."""
        return max(self._token.renew_at - self._clock(), 0.0) if self._token is not None else 0.0

    def invalidate(self, token: str) -> None:
        """The server has refused `token`: never give it again."""
        if self._token is not None and self._token.value == token:
            self._token = None

    async def get(self) -> str:
        """A token that works, renewed when most of its lifetime has gone.

        Raises `AuthenticationFailed` if the server refuses the client, and `NotReady` if it is away; while the old token
        still works, that is given instead.
        """
        if (token := self._fresh()) is not None:
            return token
        requests = self._requests
        async with self._lock:
            if (token := self._fresh()) is not None:
                return token
            if requests == self._requests:
                await self._request()
        if (token := self.current) is not None:
            return token
        # several callers may have waited for one request: each gets an exception of its own
        failure = self._failure or NotReady()
        copy = type(failure)(str(failure))
        if isinstance(failure, NotReady) and isinstance(copy, NotReady):
            copy.retry_after = failure.retry_after
        raise copy

    def _fresh(self) -> str | None:
        return self.current if self._token is not None and self._clock() < self._token.renew_at else None

    async def _request(self) -> None:
        try:
            asked_at = self._clock()
            value, lifetime = await self._grant()
            renew_at = asked_at + lifetime * (RENEW_AT - random.uniform(0, JITTER))  # noqa: S311  no secret depends on it
            self._token = _Token(value, renew_at, asked_at + lifetime)
            self._failure = None
        except (AuthenticationFailed, NotReady) as error:
            self._failure = error
            if self._token is not None:
                pause = error.retry_after if isinstance(error, NotReady) else None
                self._token.renew_at = self._clock() + max(pause or 0.0, RETRY_RENEWAL)
        self._requests += 1  # not when cancelled: then the next caller asks

    async def _grant(self) -> tuple[str, float]:
        """A token and its lifetime in seconds."""
        response = await request(self._http, "POST", self._url, data=self._form)
        body = json_object(response) or {}
        if response.status_code == 401 or (response.status_code in (400, 403) and "error" in body):
            reason = body.get("error_description") or body.get("error") or f"HTTP {response.status_code}"
            raise AuthenticationFailed(
                f"{self._url} refuses client {self._form['client_id']!r}: {reason};"
                " check --client-id and the client secret, and that the client belongs to this server's project"
            )
        value = body.get("access_token")
        if response.status_code != 200 or not isinstance(value, str) or not value:
            raise NotReady(f"{self._url} answered {response.status_code} without a token; check --base-url")
        expires_in = body.get("expires_in")
        if isinstance(expires_in, int | float) and 0 < expires_in < 1e9:
            return value, float(expires_in)
        return value, DEFAULT_LIFETIME
