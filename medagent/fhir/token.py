"""Access tokens by the OAuth2 client credentials grant (RFC 6749, 4.4)."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from medagent.errors import AuthenticationFailed, MedagentError, NotReady
from medagent.fhir.http import MAX_REASON, READ_TIMEOUT, json_object, request
from medagent.fhir.secret import ClientSecret
from medagent.printable import printable

RENEW_AT = 0.8
"""Share of a token's useful life after which it is renewed, whatever its lifetime is."""
JITTER = 0.05
"""Share of the useful life by which the renewal comes earlier at random, so that agents do not ask all at once."""
MARGIN = 2.0
MARGIN_SHARE = 0.25
"""Seconds at the end of a token's lifetime in which it is not used, but no more than this share: a frame may wait on its way,
and servers count in whole seconds (`exp`, RFC 7519, 4.1.4)."""
DEFAULT_LIFETIME = 3600.0
"""When the server does not say (RFC 6749, 5.1: `expires_in` is only recommended), seconds."""
RETRY_SHARE = 0.05
RETRY_CAP = 5.0
"""After a failure nobody asks again for this share of the last lifetime, at most so many seconds, or for as long as the server
wants to be left alone. Before the first token only the latter counts: who waits for it has a back-off of their own."""
LEAST_RETRY = 1.0
"""Seconds of that pause at least while no token serves: a server may have given one with hardly any lifetime."""
PATIENCE_SHARE = 0.1
MOST_PATIENCE_SHARE = 0.5
"""How long a request may take while a token serves: the first share of its lifetime, doubled by every failure up to the second.
Once it has ended, `LEAST_PATIENCE` at least, doubled by every failure, since only waiting for the server can help then."""
LEAST_PATIENCE = 5.0
"""Seconds. None waits longer than `READ_TIMEOUT`."""
MAX_BYTES = 1024 * 1024
"""The longest answer of the token endpoint that is read."""
MAX_TOKEN = 16 * 1024
"""Characters of a token: each frame carries it."""
_SENDABLE = re.compile(rf"[\x21-\x7e]{{1,{MAX_TOKEN}}}").fullmatch
"""Narrower than RFC 6749, A.12, by the space: a token stands in a header and in JSON, and neither may change it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    renew_at: float
    useful_until: float


class TokenSource:
    """Gives access tokens: asks for one when it must, never twice at a time."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: str,
        http: httpx2.AsyncClient,
        *,
        secret_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`secret_file`: where `client_secret` was read, and is read again after a refusal; None if it is in no file."""
        self._url = f"{base_url.rstrip('/')}/oauth2/token"
        self._client_id = client_id
        self._secret = ClientSecret(client_secret, secret_file)
        self._http = http
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: _Token | None = None
        self._requests = 0
        self._pause = 0.0
        self._patience = READ_TIMEOUT
        self._most_patience = READ_TIMEOUT
        """Of a request while a token serves."""
        self._failure: MedagentError | None = None
        """Of the last request, None if it brought a token."""
        self._retry_at = 0.0
        """When to ask again after `_failure`."""

    @property
    def current(self) -> str | None:
        """The token if there is one that has not expired, nor is about to; asks nobody."""
        if self._token is not None and self._clock() < self._token.useful_until:
            return self._token.value
        return None

    @property
    def renew_in(self) -> float:
        """Seconds until it is time to call `get`; 0 when it is now."""
        renew_at = self._token.renew_at if self._token is not None else 0.0
        return max(max(renew_at, self._retry_at) - self._clock(), 0.0)

    def invalidate(self, token: str) -> None:
        """The server has refused `token`: never give it again."""
        if self._token is not None and self._token.value == token:
            self._token = None

    async def get(self) -> str:
        """A token that works, renewed when most of its lifetime has gone.

        Raises `AuthenticationFailed` if the server refuses the client, and `NotReady` if it is away; while the old token
        still works, that is given instead. In the pause after a failure nobody is asked, and the failure is raised again.
        """
        if (token := self._fresh()) is not None:
            return token
        requests = self._requests
        async with self._lock:
            if (token := self._fresh()) is not None:
                return token
            if requests == self._requests and self._clock() >= self._retry_at:
                await self._request()
        if (token := self.current) is not None:
            return token
        # several callers may have waited for one request: each gets an exception of its own
        failure = self._failure or NotReady()
        copy = type(failure)(str(failure))
        if isinstance(failure, NotReady) and isinstance(copy, NotReady) and failure.retry_after is not None:
            copy.retry_after = max(self._retry_at - self._clock(), 0.0)
        raise copy

    def _fresh(self) -> str | None:
        return self.current if self.renew_in > 0 else None

    async def _request(self) -> None:
        if isinstance(self._failure, AuthenticationFailed):
            await self._secret.read_again()
        serving = self.current is not None
        patience = min(self._patience, self._most_patience) if serving else max(self._patience, LEAST_PATIENCE)
        try:
            asked_at = self._clock()
            value, lifetime = await self._grant(patience)
            useful = lifetime - min(MARGIN, lifetime * MARGIN_SHARE)
            renew_at = asked_at + useful * (RENEW_AT - random.uniform(0, JITTER))  # noqa: S311  no secret depends on it
            self._token = _Token(value, renew_at, asked_at + useful)
            self._failure, self._retry_at = None, 0.0
            self._pause = min(lifetime * RETRY_SHARE, RETRY_CAP)
            self._patience = min(lifetime * PATIENCE_SHARE, READ_TIMEOUT)
            self._most_patience = min(lifetime * MOST_PATIENCE_SHARE, READ_TIMEOUT)
        except (AuthenticationFailed, NotReady) as error:
            if self._failure is None and self.current is not None:
                log.warning("the access token could not be renewed, and serves on while it lasts: %s", error)
            self._failure = error
            wished = error.retry_after if isinstance(error, NotReady) else None
            pause = max(self._pause, LEAST_RETRY) if self._pause and self.current is None else self._pause
            self._retry_at = self._clock() + max(wished or 0.0, pause)
            self._patience = min(patience * 2, READ_TIMEOUT)
        self._requests += 1  # not when cancelled: then the next caller asks

    async def _grant(self, patience: float) -> tuple[str, float]:
        """A token and its lifetime in seconds. `patience`: seconds for the whole request."""
        form = {"grant_type": "client_credentials", "client_id": self._client_id, "client_secret": self._secret.value}
        response = await request(self._http, "POST", self._url, patience=patience, max_bytes=MAX_BYTES, data=form)
        body = json_object(response) or {}
        if response.status_code == 401 or (response.status_code in (400, 403) and "error" in body):
            said = body.get("error_description") or body.get("error")
            reason = self._quoted(said) if isinstance(said, str) else f"HTTP {response.status_code}"
            raise AuthenticationFailed(
                f"{self._url} refuses client {self._client_id!r}: {reason};"
                " check --client-id and the client secret, and that the client belongs to this server's project;"
                f" {self._secret.way_to_mend}"
            )
        value = body.get("access_token")
        if response.status_code != 200 or not isinstance(value, str) or not value:
            raise NotReady(f"{self._url} answered {response.status_code} without a token; check --base-url")
        if not _SENDABLE(value):
            raise NotReady(
                f"{self._url} answered with a token that no request can carry: it has white space or other characters in it"
                f" than visible ASCII, or more than {MAX_TOKEN} of them; check the server"
            )
        expires_in = body.get("expires_in")
        if isinstance(expires_in, int | float) and 0 < expires_in < 1e9:
            return value, float(expires_in)
        return value, DEFAULT_LIFETIME

    def _quoted(self, said: str) -> str:
        """What the server says, fit for a log: it may be anything, and may hold what it was sent."""
        return printable(said.replace(self._secret.value, "(the secret)"), MAX_REASON)
