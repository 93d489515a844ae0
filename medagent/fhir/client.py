"""Reading resources from a FHIR server."""

from __future__ import annotations

from typing import Any

import httpx2

from medagent.errors import AuthenticationFailed, NotReady
from medagent.fhir.http import json_object, request
from medagent.fhir.token import TokenSource


class ResourceNotReadable(NotReady):
    """The server is there, but does not give this resource: it may be created, or allowed, later."""

    exit_code = 78


class FhirClient:
    """Reads resources as one OAuth2 client. The two arguments that do I/O belong to the caller, who closes them."""

    def __init__(self, base_url: str, tokens: TokenSource, http: httpx2.AsyncClient) -> None:
        self.base_url = base_url if base_url.endswith("/") else base_url + "/"
        self._tokens = tokens
        self._http = http

    def url(self, reference: str) -> str:
        """The address of the resource `reference`."""
        return f"{self.base_url}fhir/R4/{reference}"

    # decoded JSON that nobody has validated yet
    async def read(self, reference: str) -> dict[str, Any]:
        """The resource `reference`, such as `Agent/1`, as it came (https://hl7.org/fhir/R4B/http.html#read).

        Raises `ResourceNotReadable`, `AuthenticationFailed` or `NotReady`.
        """
        response = await self._get(reference)
        if response.status_code == 401:
            response = await self._get(reference)  # the token is new now
        if response.status_code == 401:
            raise AuthenticationFailed(f"{self.base_url} gives tokens and refuses them: check --base-url and the client")
        if response.status_code == 403:
            raise ResourceNotReadable(f"this client may not read {reference} on {self.base_url}: check its access policy")
        if response.status_code in (400, 404, 410):
            hint = ": check --agent-id" if reference.startswith("Agent/") else ""
            raise ResourceNotReadable(f"{reference} does not exist on {self.base_url}, or this client may not read it{hint}")
        body = json_object(response)
        if response.status_code != 200 or body is None:
            raise NotReady(f"{self.url(reference)} answered {response.status_code}, not a resource; check --base-url")
        return body

    async def _get(self, reference: str) -> httpx2.Response:
        token = await self._tokens.get()
        # without "X-Medplum: extended" the server leaves out the elements of meta that FHIR does not know
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/fhir+json", "Cache-Control": "no-cache"}
        response = await request(self._http, "GET", self.url(reference), headers=headers)
        if response.status_code == 401:
            self._tokens.invalidate(token)
        return response
