"""The REST operations, against an agent made of a function."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from medagent.testing.bots import HL7
from medagent.testing.fhir_server.hub import Connection, Hub
from medagent.testing.fhir_server.jsontext import JsonObject
from medagent.testing.fhir_server.operations import OperationResult, Operations
from medagent.testing.fhir_server.store import Store
from medagent.testing.resources import agent_resource, device_resource

Answer = Callable[[JsonObject], JsonObject | None]
PUSH = {"destination": "Device/d1", "contentType": HL7, "body": "MSH|^~\\&|A", "waitForResponse": True}


class World:
    """An agent `a1` that answers every request with `answer`, without its callback."""

    def __init__(self, answer: Answer = lambda frame: None) -> None:
        self.asked: list[JsonObject] = []
        self.hub = Hub()
        self.store = Store()
        self.store.put(agent_resource(id="a1", name="Lab"))
        self.store.put(device_resource("d1", "mllp://127.0.0.1:2575"))
        self.operations = Operations(self.hub, self.store, timeout=0.05, upgrade_timeout=0.05, push_timeout=0.05)

        def send(frame: JsonObject) -> None:
            self.asked.append(frame)
            answered = answer(frame)
            if answered is not None:
                self.hub.answered(answered | {"callback": frame["callback"]})

        connection = Connection(send)
        connection.agent_id = "a1"
        self.hub.connect(connection)

    async def get(self, name: str, **query: str) -> OperationResult:
        return await self.operations.get("a1", name, query)

    # changes of the pushed arguments, None to leave one out
    async def push(self, **changes: object) -> OperationResult:
        arguments = {name: value for name, value in (PUSH | changes).items() if value is not None}
        return await self.operations.post("a1", "$push", {}, arguments)


def text(result: OperationResult) -> str:
    """Of the OperationOutcome."""
    assert result.resource is not None
    return str(result.resource["issue"][0]["details"]["text"])


@pytest.mark.parametrize("status_code", [200, 500])
async def test_a_reload_is_well_whatever_its_status_code(status_code: int) -> None:
    world = World(lambda frame: {"type": "agent:reloadconfig:response", "statusCode": status_code})
    result = await world.get("$reload-config")
    assert (result.status, text(result)) == (200, "All OK")
    assert set(world.asked[0]) == {"type", "callback"}


async def test_an_agents_error_is_told() -> None:
    result = await World(lambda frame: {"type": "agent:error", "body": "no such Endpoint"}).get("$reload-config")
    assert (result.status, text(result)) == (400, "no such Endpoint")


async def test_an_answer_of_another_type_is_an_internal_error() -> None:
    result = await World(lambda frame: {"type": "agent:logs:response"}).get("$reload-config")
    assert result.status == 500
    assert result.resource is not None
    assert result.resource["issue"][0]["diagnostics"] == "Error: Invalid response received from agent"


@pytest.mark.parametrize("name", ["$reload-config", "$fetch-logs", "$upgrade"])
async def test_no_answer_is_a_timeout(name: str) -> None:
    result = await World().get(name)
    assert (result.status, text(result), result.timed_out) == (400, "Timeout", True)


async def test_logs_come_as_lines_of_json() -> None:
    logs = [{"level": "INFO", "msg": "b"}, {"level": "WARN", "msg": "a"}]
    world = World(lambda frame: {"type": "agent:logs:response", "statusCode": 200, "logs": logs})
    result = await world.get("$fetch-logs", limit="2")
    assert world.asked[0]["limit"] == 2
    assert result.resource is not None
    assert result.resource["parameter"] == [
        {"name": "logs", "valueString": '{"level":"INFO","msg":"b"}\n{"level":"WARN","msg":"a"}'}
    ]


async def test_an_upgrade_names_version_and_force() -> None:
    world = World(lambda frame: {"type": "agent:upgrade:response", "statusCode": 200})
    assert (await world.get("$upgrade", version="5.1", force="true")).status == 200
    assert (world.asked[0]["version"], world.asked[0]["force"]) == ("5.1", True)


async def test_a_push_without_waiting_has_no_callback() -> None:
    world = World()
    result = await world.push(waitForResponse=None)
    assert (result.status, text(result)) == (200, "All OK")
    assert world.asked == [
        {
            "type": "agent:transmit:request",
            "remote": "mllp://127.0.0.1:2575",
            "contentType": HL7,
            "body": PUSH["body"],
        }
    ]


async def test_a_push_that_waits_returns_the_agents_answer_as_it_is() -> None:
    answer = {"type": "agent:transmit:response", "statusCode": 200, "contentType": HL7, "body": "MSH|ack"}
    result = await World(lambda frame: answer).push()
    assert (result.status, result.resource, result.text, result.content_type) == (200, None, "MSH|ack", HL7)
    result = await World(lambda frame: answer | {"statusCode": 400, "body": "refused"}).push(destination="Device?_id=d1")
    assert (result.status, text(result)) == (400, "refused")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"body": ""}, "Missing body parameter"),
        ({"contentType": None}, "Missing contentType parameter"),
        ({"destination": None}, "Missing destination parameter"),
        ({"waitTimeout": 60_000}, "Invalid wait timeout"),
        ({"waitTimeout": -1}, "Invalid wait timeout"),
        ({"destination": "Device/nope"}, "Destination device not found"),
        ({"destination": "Device?url=nope"}, "Destination device not found"),
        ({"destination": "mllp://127.0.0.1:2575"}, "Destination device not found"),
        ({"destination": "::1", "contentType": "x-application/ping"}, "Destination device not found"),
        ({"waitTimeout": 10}, "Timeout"),
    ],
)
async def test_a_push_is_refused_with_these_words(changes: JsonObject, complaint: str) -> None:
    result = await World().push(**changes)
    assert (result.status, text(result)) == (400, complaint)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "ward-7.example.org"])
async def test_a_ping_goes_to_a_host_even_when_the_agent_is_off(host: str) -> None:
    world = World()
    world.store.put(agent_resource(id="a1", status="off"))
    assert text(await world.push()) == "Agent is currently disabled. Agent.status is 'off'"
    ping = {"contentType": "x-application/ping", "body": "PING", "waitForResponse": False}
    assert (await world.push(**ping, destination=host)).status == 200
    assert world.asked[0]["remote"] == host


async def test_of_a_parameters_body_only_strings_are_read() -> None:
    world = World()
    parameters = [{"name": name, "valueString": PUSH[name]} for name in ("destination", "contentType", "body")]
    body = {"resourceType": "Parameters", "parameter": [*parameters, {"name": "waitForResponse", "valueBoolean": True}]}
    assert (await world.operations.post("a1", "$push", {}, body)).status == 200
    assert "callback" not in world.asked[0]


async def test_status_and_the_operations_on_many() -> None:
    world = World(lambda frame: {"type": "agent:reloadconfig:response"})
    world.store.put(agent_resource(id="a2", name="Ward"))
    status = await world.operations.get(None, "$status", {"name": "Lab"})
    assert status.resource is not None
    assert status.resource["parameter"][0] == {"name": "status", "valueCode": "connected"}
    bundle = (await world.operations.get(None, "$bulk-status", {})).resource
    assert bundle is not None
    results = [entry["resource"]["parameter"][1]["resource"] for entry in bundle["entry"]]
    assert [result["parameter"][0]["valueCode"] for result in results] == ["connected", "unknown"]
    bundle = (await world.operations.get(None, "$reload-config", {"name": "lab"})).resource
    assert bundle is not None
    assert len(bundle["entry"]) == 1
    nobody = await world.operations.get(None, "$reload-config", {"name": "zzz"})
    assert (nobody.status, text(nobody)) == (400, "No agent(s) for given query")


async def test_what_is_unknown_is_not_found() -> None:
    world = World()
    assert (await world.get("$stats")).status == 404
    assert (await world.operations.get("a9", "$status", {})).status == 404
    assert (await world.operations.get(None, "$status", {"name": "zzz"})).status == 404
    assert (await world.operations.post("a1", "$status", {}, {})).status == 404
    assert (await world.operations.post("a9", "$push", {}, PUSH)).status == 404
