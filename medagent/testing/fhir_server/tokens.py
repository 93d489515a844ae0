"""Access tokens: issued, good for a time, and forgotten on request."""

from __future__ import annotations

import base64
import secrets
import time
import uuid
from collections.abc import Callable

from medagent.testing.fhir_server.jsontext import encode


class Tokens:
    """The tokens this server takes. They look like the real server's JWTs, in shape and size, but are signed by nobody."""

    def __init__(self, client_id: str, lifetime: float, clock: Callable[[], float]) -> None:
        self.lifetime = lifetime
        """Seconds, for the tokens issued from now on."""
        self._client_id = client_id
        self._clock = clock
        self._expiry: dict[str, float] = {}

    def issue(self) -> str:
        now = int(time.time())
        claims = {
            "client_id": self._client_id,
            "login_id": str(uuid.uuid4()),
            "sub": self._client_id,
            "username": self._client_id,
            "scope": "openid",
            "profile": f"ClientApplication/{self._client_id}",
            "iat": now,
            "nbf": now,
            "iss": "http://127.0.0.1/",
            "aud": self._client_id,
            "exp": now + int(self.lifetime),
        }
        header = {"alg": "ES256", "kid": str(uuid.uuid4()), "typ": "JWT"}
        parts = [encode(header).encode(), encode(claims).encode(), secrets.token_bytes(64)]
        token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        self._expiry[token] = self._clock() + self.lifetime
        return token

    def valid(self, token: object) -> bool:
        expiry = self._expiry.get(token) if isinstance(token, str) else None
        return expiry is not None and self._clock() < expiry

    def forget(self) -> None:
        """Every token issued so far is refused from now on, as after a real server has lost its sessions."""
        self._expiry.clear()
