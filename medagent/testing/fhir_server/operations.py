"""The REST operations on agents: each sends a request over the WebSocket and turns the agent's answer into an HTTP answer."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from medagent.testing.fhir_server import outcomes
from medagent.testing.fhir_server.hub import Hub
from medagent.testing.fhir_server.jsontext import JsonObject, encode
from medagent.testing.fhir_server.store import Store

FHIR_JSON = "application/fhir+json"
_PING = "x-application/ping"
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_MAX_WAIT_MS = 55_000


@dataclass(frozen=True, slots=True)
class OperationResult:
    """An HTTP answer."""

    status: int
    resource: JsonObject | None = None
    """The body, if it is FHIR."""
    text: str = ""
    """The body otherwise."""
    content_type: str = FHIR_JSON
    timed_out: bool = False


def _bad_request(text: str) -> OperationResult:
    return OperationResult(400, outcomes.bad_request(text))


NOT_FOUND = OperationResult(404, outcomes.not_found())
_ALL_OK = OperationResult(200, outcomes.all_ok())
_TIMEOUT = OperationResult(400, outcomes.bad_request("Timeout"), timed_out=True)
_Operation = Callable[[JsonObject, Mapping[str, str]], Awaitable[OperationResult]]


class Operations:
    """What `GET` and `POST` of `Agent/$…` and `Agent/{id}/$…` do."""

    def __init__(self, hub: Hub, store: Store, *, timeout: float, upgrade_timeout: float, push_timeout: float) -> None:
        self.timeout = timeout
        """Seconds that `$reload-config` and `$fetch-logs` wait for the agent."""
        self.upgrade_timeout = upgrade_timeout
        self.push_timeout = push_timeout
        """Of a `$push` that waits and does not say how long."""
        self._hub = hub
        self._store = store
        self._operations: dict[str, _Operation] = {
            "$status": self._status,
            "$reload-config": self._reload_config,
            "$fetch-logs": self._fetch_logs,
            "$upgrade": self._upgrade,
        }

    async def get(self, agent_id: str | None, name: str, query: Mapping[str, str]) -> OperationResult:
        """`agent_id` None: the agents that `query` finds."""
        if agent_id is None and name == "$bulk-status":
            return await self._on_each(self._status, query)
        operation = self._operations.get(name)
        if operation is None:
            return NOT_FOUND
        if agent_id is None and name != "$status":
            return await self._on_each(operation, query)
        agent = self._agent(agent_id, query)
        return await operation(agent, query) if agent is not None else NOT_FOUND

    async def post(self, agent_id: str | None, name: str, query: Mapping[str, str], body: JsonObject) -> OperationResult:
        agent = self._agent(agent_id, query)
        return await self._push(agent, body) if agent is not None and name == "$push" else NOT_FOUND

    def _agent(self, agent_id: str | None, query: Mapping[str, str]) -> JsonObject | None:
        if agent_id is not None:
            return self._store.get("Agent", agent_id)
        found = self._store.search("Agent", query)
        return found[0] if found else None

    async def _on_each(self, operation: _Operation, query: Mapping[str, str]) -> OperationResult:
        searched = {name: value for name, value in query.items() if name in ("identifier", "name", "status", "_id", "_count")}
        agents = self._store.search("Agent", searched)
        if not agents:
            return _bad_request("No agent(s) for given query")
        entries = []
        for agent in agents:
            result = await operation(agent, query)
            parameters = [{"name": "agent", "resource": agent}, {"name": "result", "resource": result.resource}]
            entries.append({"resource": {"resourceType": "Parameters", "parameter": parameters}})
        return OperationResult(200, {"resourceType": "Bundle", "type": "collection", "entry": entries})

    async def _status(self, agent: JsonObject, query: Mapping[str, str]) -> OperationResult:
        info = self._hub.info(agent["id"])
        parameters = [{"name": "status", "valueCode": info.status}, {"name": "version", "valueString": info.version}]
        if info.last_updated is not None:
            parameters.append({"name": "lastUpdated", "valueInstant": info.last_updated})
        return OperationResult(200, {"resourceType": "Parameters", "parameter": parameters})

    async def _reload_config(self, agent: JsonObject, query: Mapping[str, str]) -> OperationResult:
        answer = await self._ask(agent, {"type": "agent:reloadconfig:request"}, self.timeout)
        return answer if isinstance(answer, OperationResult) else _ALL_OK

    async def _fetch_logs(self, agent: JsonObject, query: Mapping[str, str]) -> OperationResult:
        frame: JsonObject = {"type": "agent:logs:request"}
        if "limit" in query:
            frame["limit"] = int(query["limit"])
        answer = await self._ask(agent, frame, self.timeout)
        if isinstance(answer, OperationResult):
            return answer
        lines = "\n".join(encode(line) for line in answer.get("logs", []))
        parameter = [{"name": "logs", "valueString": lines}]
        return OperationResult(200, {"resourceType": "Parameters", "parameter": parameter})

    async def _upgrade(self, agent: JsonObject, query: Mapping[str, str]) -> OperationResult:
        frame: JsonObject = {"type": "agent:upgrade:request"}
        if "version" in query:
            frame["version"] = query["version"]
        if "force" in query:
            frame["force"] = query["force"] == "true"
        answer = await self._ask(agent, frame, self.upgrade_timeout)
        return answer if isinstance(answer, OperationResult) else _ALL_OK

    async def _push(self, agent: JsonObject, body: JsonObject) -> OperationResult:
        arguments = _push_arguments(body)
        for name in ("body", "contentType", "destination"):
            if not arguments.get(name):
                return _bad_request(f"Missing {name} parameter")
        content_type = str(arguments["contentType"])
        if agent.get("status") == "off" and content_type != _PING:
            return _bad_request("Agent is currently disabled. Agent.status is 'off'")
        wait_ms = arguments.get("waitTimeout", self.push_timeout * 1000)
        if not 0 <= wait_ms <= _MAX_WAIT_MS:
            return _bad_request("Invalid wait timeout")
        remote = self._remote(str(arguments["destination"]), content_type)
        if remote is None:
            return _bad_request("Destination device not found")
        frame = {"type": "agent:transmit:request", "remote": remote, "contentType": content_type, "body": arguments["body"]}
        if not arguments.get("waitForResponse"):
            self._hub.publish(agent["id"], frame)
            return _ALL_OK
        answer = await self._ask(agent, frame, wait_ms / 1000)
        if isinstance(answer, OperationResult):
            return answer
        if answer.get("statusCode", 200) >= 400:
            return _bad_request(str(answer.get("body", "")))
        return OperationResult(200, None, str(answer.get("body", "")), str(answer.get("contentType", "text/plain")))

    def _remote(self, destination: str, content_type: str) -> str | None:
        kind, _, rest = destination.partition("?") if "?" in destination else destination.partition("/")
        if kind == "Device":
            if "?" in destination:
                name, _, value = rest.partition("=")
                found = self._store.search("Device", {name: value})
                device = found[0] if found else None
            else:
                device = self._store.get("Device", rest)
            return device.get("url") if device is not None else None
        return destination if content_type == _PING and _is_host(destination) else None

    async def _ask(self, agent: JsonObject, frame: JsonObject, timeout: float) -> JsonObject | OperationResult:
        """The agent's answer, or what to say if that is no proper one."""
        try:
            answer = await self._hub.request(agent["id"], frame, timeout)
        except TimeoutError:
            return _TIMEOUT
        if answer["type"] == "agent:error":
            return _bad_request(str(answer.get("body", "")))
        if answer["type"] != frame["type"].replace(":request", ":response"):
            return OperationResult(500, outcomes.server_error("Error: Invalid response received from agent"))
        return answer


def _push_arguments(body: JsonObject) -> JsonObject:
    """Of a flat JSON body all, of a FHIR Parameters body only the strings, as the real server reads it."""
    if body.get("resourceType") != "Parameters":
        return body
    return {item["name"]: item["valueString"] for item in body.get("parameter", []) if "valueString" in item}


def _is_host(text: str) -> bool:
    """Whether it is an IPv4 address or can be a host's name."""
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return _HOSTNAME.fullmatch(text) is not None
