"""The way to one FHIR server: HTTP client, tokens and reader, shared by all who need them, so that one token serves all."""

from __future__ import annotations

from pathlib import Path

from medagent.fhir.client import FhirClient
from medagent.fhir.http import http_client
from medagent.fhir.route import DIRECT, Route
from medagent.fhir.token import TokenSource


class FhirAccess:
    """Opened once per agent, closed by it."""

    def __init__(
        self, base_url: str, client_id: str, client_secret: str, route: Route = DIRECT, *, secret_file: Path | None = None
    ) -> None:
        """`secret_file` as in `TokenSource`."""
        self.route = route
        self._http = http_client(route)
        self.tokens = TokenSource(base_url, client_id, client_secret, self._http, secret_file=secret_file)
        self.client = FhirClient(base_url, self.tokens, self._http)

    async def close(self) -> None:
        await self._http.aclose()
