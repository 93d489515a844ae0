"""The HTTP side: tokens, FHIR resources, operations."""

from __future__ import annotations

import asyncio
import base64
import binascii
import uuid
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import hdrs, web

from medagent.tasks import Tasks
from medagent.testing.fhir_server import outcomes
from medagent.testing.fhir_server.agent_socket import AgentSockets
from medagent.testing.fhir_server.faults import Faults, HttpFailure
from medagent.testing.fhir_server.journal import Journal
from medagent.testing.fhir_server.jsontext import JsonObject, decode, encode
from medagent.testing.fhir_server.operations import FHIR_JSON, OperationResult, Operations
from medagent.testing.fhir_server.store import AUTHOR, PROJECT, Store, instant
from medagent.testing.fhir_server.tokens import Tokens

FHIR = "/fhir/R4"
TOKEN_PATH = "/oauth2/token"  # noqa: S105  a path
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_OPERATION = r"{operation:\$[a-z-]+}"


class HttpApi:
    """The routes and their handlers."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        store: Store,
        operations: Operations,
        sockets: AgentSockets,
        journal: Journal,
        faults: Faults,
        tasks: Tasks,
        client_id: str,
        client_secret: str,
    ) -> None:
        self.base_url = ""
        self._tokens = tokens
        self._store = store
        self._operations = operations
        self._sockets = sockets
        self._journal = journal
        self._faults = faults
        self._tasks = tasks
        self._client_id = client_id
        self.client_secret = client_secret
        """Can be replaced at any time."""
        self._jobs: dict[str, JsonObject] = {}
        self._asking_for_tokens: set[asyncio.BaseTransport] = set()
        """Connections with a token request that is not answered yet."""

    @property
    def running_jobs(self) -> int:
        """Asynchronous operations that have not ended."""
        return sum(job["status"] == "accepted" for job in self._jobs.values())

    def application(self) -> web.Application:
        application = web.Application(client_max_size=16 * 1024 * 1024, middlewares=[self._guard])
        application.add_routes(
            [
                web.post(TOKEN_PATH, self._token),
                web.get("/auth/me", self._me),
                web.get("/ws/agent", self._sockets.serve),
                web.get(f"{FHIR}/Agent/{_OPERATION}", self._get_operation),
                web.get(f"{FHIR}/Agent/{{id}}/{_OPERATION}", self._get_operation),
                web.post(f"{FHIR}/Agent/{_OPERATION}", self._post_operation),
                web.post(f"{FHIR}/Agent/{{id}}/{_OPERATION}", self._post_operation),
                web.get(f"{FHIR}/job/{{id}}/status", self._job),
                web.get(f"{FHIR}/{{kind}}/{{id}}", self._read),
                web.put(f"{FHIR}/{{kind}}/{{id}}", self._update),
            ]
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Faults first, then the token, then unknown paths."""
        if request.path == TOKEN_PATH:
            return await self._guard_token(request, handler)
        failure = self._faults.upgrade_failure if request.path == "/ws/agent" else self._faults.fhir_failure
        if failure is not None:
            return _failed(failure)
        secured = request.path.startswith(FHIR) or request.path == "/auth/me"
        if secured and not self._tokens.valid(request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")):
            self._journal.refused_tokens += 1
            return _fhir(401, outcomes.unauthorized())
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _fhir(404, outcomes.not_found())

    async def _guard_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        if transport is None:  # the client is gone already
            return web.Response(status=400)
        # those that have given up are not waiting any more
        self._asking_for_tokens = {each for each in self._asking_for_tokens if not each.is_closing()} | {transport}
        self._journal.token_requested(len(self._asking_for_tokens))
        try:
            if self._faults.hang_token:
                await self._tasks.spawn(asyncio.Event().wait(), "hanging token request")
            failure = self._faults.token_failure
            return _failed(failure) if failure is not None else await handler(request)
        finally:
            self._asking_for_tokens.discard(transport)

    async def _token(self, request: web.Request) -> web.Response:
        if request.content_type != "application/x-www-form-urlencoded":
            return web.Response(status=400, text="Unsupported content type")
        form = {name: str(value) for name, value in (await request.post()).items()}
        fault = self._token_fault(form | _basic_credentials(request.headers.get(hdrs.AUTHORIZATION, "")))
        if fault is not None:
            return web.json_response({"error": "invalid_request", "error_description": fault}, status=400, dumps=encode)
        reference = f"ClientApplication/{self._client_id}"
        token = self._tokens.issue()
        answer = {
            "token_type": "Bearer",
            "expires_in": int(self._tokens.lifetime),
            "scope": "openid",
            "id_token": token,
            "access_token": token,
            "project": {"reference": PROJECT},
            "profile": {"reference": reference, "display": "Agent Client"},
            "smart_style_url": f"{self.base_url}fhir/R4/.well-known/smart-styles.json",
            "need_patient_banner": False,
        }
        return web.json_response(answer, dumps=encode)

    def _token_fault(self, form: Mapping[str, str]) -> str | None:
        if form.get("grant_type") != "client_credentials":
            return "Unsupported grant_type"
        if not form.get("client_id"):
            return "Missing client_id"
        if not form.get("client_secret"):
            return "Missing client_secret"
        if form["client_id"] != self._client_id:
            return "Invalid client"
        return None if form["client_secret"] == self.client_secret else "Invalid secret"

    async def _me(self, request: web.Request) -> web.Response:
        profile = {"reference": f"ClientApplication/{self._client_id}", "display": "Agent Client"}
        answer = {
            "project": {"resourceType": "Project", "id": PROJECT.partition("/")[2], "name": "Test", "strictMode": True},
            "membership": {"resourceType": "ProjectMembership", "id": str(uuid.uuid4()), "user": profile, "profile": profile},
            "profile": {
                "meta": {"author": {"reference": AUTHOR}},
                "resourceType": "ClientApplication",
                "name": "Agent Client",
                "id": self._client_id,
            },
        }
        return web.json_response(answer, dumps=encode)

    async def _read(self, request: web.Request) -> web.Response:
        resource = self._store.get(request.match_info["kind"], request.match_info["id"])
        return _fhir(200, resource) if resource is not None else _fhir(404, outcomes.not_found())

    async def _update(self, request: web.Request) -> web.Response:
        resource = decode(await request.text())
        kind, identifier = request.match_info["kind"], request.match_info["id"]
        if not isinstance(resource, dict) or (resource.get("resourceType"), resource.get("id")) != (kind, identifier):
            return _fhir(400, outcomes.bad_request("Incorrect resource type or ID"))
        status = 200 if self._store.get(kind, identifier) is not None else 201
        return _fhir(status, self._store.put(resource))

    async def _get_operation(self, request: web.Request) -> web.Response:
        agent_id, name = request.match_info.get("id"), request.match_info["operation"]
        return _result(await self._operations.get(agent_id, name, request.query))

    async def _post_operation(self, request: web.Request) -> web.Response:
        body = decode(await request.text())
        if not isinstance(body, dict):
            return _fhir(400, outcomes.bad_request("Content could not be parsed"))
        agent_id, name = request.match_info.get("id"), request.match_info["operation"]
        running = self._operations.post(agent_id, name, request.query, body)
        if request.headers.get("Prefer") != "respond-async":
            return _result(await running)
        job: JsonObject = {
            "resourceType": "AsyncJob",
            "status": "accepted",
            "request": f"{self.base_url}{request.path.removeprefix('/')}",
            "requestTime": instant(),
        }
        identifier = str(uuid.uuid4())
        self._jobs[identifier] = job | {"id": identifier}

        async def run() -> None:
            self._jobs[identifier] |= _finished(await running)
            self._journal.changed()

        self._tasks.spawn(run(), "async job")
        location = f"{self.base_url}fhir/R4/job/{identifier}/status"
        return _fhir(202, outcomes.accepted(location), {hdrs.CONTENT_LOCATION: location})

    async def _job(self, request: web.Request) -> web.Response:
        job = self._jobs.get(request.match_info["id"])
        if job is None:
            return _fhir(404, outcomes.not_found())
        return _fhir(202 if job["status"] == "accepted" else 200, job)


def _finished(result: OperationResult) -> JsonObject:
    """What an operation's result makes of its AsyncJob: an agent's error is an outcome, only a time-out is an error."""
    if result.resource is not None:
        parameters: list[JsonObject] = [{"name": "outcome", "resource": result.resource}]
    else:
        parameters = [{"name": "outcome", "resource": outcomes.all_ok()}, {"name": "responseBody", "valueString": result.text}]
    return {
        "status": "error" if result.timed_out else "completed",
        "transactionTime": instant(),
        "meta": {"versionId": str(uuid.uuid4()), "lastUpdated": instant()},
        "output": {"resourceType": "Parameters", "parameter": parameters},
    }


def _basic_credentials(header: str) -> dict[str, str]:
    """Client id and secret of an HTTP Basic header; nothing if it is none."""
    if not header.startswith("Basic "):
        return {}
    try:
        client_id, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return {}
    return {"client_id": client_id, "client_secret": secret}


def _fhir(status: int, resource: JsonObject, headers: Mapping[str, str] | None = None) -> web.Response:
    all_headers = dict(headers or {})
    version = resource.get("meta", {}).get("versionId")
    if version is not None:
        all_headers[hdrs.ETAG] = f'W/"{version}"'
    return web.Response(status=status, text=encode(resource), content_type=FHIR_JSON, charset="utf-8", headers=all_headers)


def _result(result: OperationResult) -> web.Response:
    if result.resource is not None:
        return _fhir(result.status, result.resource)
    return web.Response(status=result.status, text=result.text, content_type=result.content_type, charset="utf-8")


def _failed(failure: HttpFailure) -> web.Response:
    headers = {} if failure.retry_after is None else {str(hdrs.RETRY_AFTER): str(failure.retry_after)}
    body = outcomes.too_many_requests() if failure.status == 429 else outcomes.server_error("fault injected")
    return _fhir(failure.status, body, headers)
