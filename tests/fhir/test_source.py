"""The Agent and its Endpoints, from a server and from files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from medagent.errors import ConfigError, NotReady
from medagent.fhir.client import FhirClient
from medagent.fhir.http import http_client
from medagent.fhir.source import endpoint_references, from_files, from_server, load
from medagent.fhir.token import TokenSource
from medagent.testing.fhir_server import FhirServer, HttpFailure
from medagent.testing.resources import AGENT_ID, agent_resource, channel, endpoint_resource

ENDPOINT = endpoint_resource("ep1", "mllp://127.0.0.1:2575")


def reference(to: str) -> dict[str, Any]:
    return {**channel("adt", ""), "endpoint": {"reference": to}}


@pytest.fixture
async def server() -> AsyncIterator[FhirServer]:
    async with FhirServer(agent_resource({"adt": "ep1", "oru": "ep2", "gone": "ep3"}), [ENDPOINT]) as server:
        server.put(endpoint_resource("ep2", "mllp://127.0.0.1:2576"))
        yield server


@pytest.fixture
async def client(server: FhirServer) -> AsyncIterator[FhirClient]:
    async with http_client() as http:
        tokens = TokenSource(server.base_url, server.client_id, server.client_secret, http)
        yield FhirClient(server.base_url, tokens, http)


def write(folder: Path, **resources: object) -> list[Path]:
    paths = []
    for name, resource in resources.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(resource))
        paths.append(path)
    return paths


def bundle(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": list(entries)}


async def test_from_a_server(client: FhirClient, server: FhirServer) -> None:
    source = await from_server(client, AGENT_ID)
    assert source.agent["id"] == AGENT_ID
    assert source.origin == f"{server.base_url}fhir/R4/Agent/{AGENT_ID}"
    addresses = {name: endpoint["address"] for name, endpoint in source.endpoints.items()}
    assert addresses == {"Endpoint/ep1": "mllp://127.0.0.1:2575", "Endpoint/ep2": "mllp://127.0.0.1:2576"}
    assert list(source.faults) == ["Endpoint/ep3"]
    assert source.faults["Endpoint/ep3"].startswith("Endpoint/ep3 does not exist on ")


async def test_a_server_that_fails_midway_is_not_ready(client: FhirClient, server: FhirServer) -> None:
    await from_server(client, AGENT_ID)
    server.faults.fhir_failure = HttpFailure(502)
    with pytest.raises(NotReady, match="502"):
        await from_server(client, AGENT_ID)


async def test_references_of_every_form_from_a_server(client: FhirClient, server: FhirServer) -> None:
    own, other = f"{server.base_url}fhir/R4/Endpoint/ep1", "https://fhir.example.org/fhir/R4/Endpoint/ep1"
    references = [own, other, "Endpoint/ep1/_history/1", "#in", "Patient/1", "Endpoint/../../x"]
    agent = agent_resource(list(map(reference, references)))
    server.put({**agent, "contained": [{**ENDPOINT, "id": "in"}]})

    source = await from_server(client, AGENT_ID)

    assert source.endpoints.keys() == {own, "Endpoint/ep1/_history/1", "#in"}
    assert source.faults[other].endswith(f"is on another server than {server.base_url}")
    assert "is not a reference to an Endpoint" in source.faults["Patient/1"]
    assert "is not a reference to an Endpoint" in source.faults["Endpoint/../../x"]


async def test_a_bundle(tmp_path: Path) -> None:
    device = {"resourceType": "Device", "id": "ep1"}
    paths = write(
        tmp_path, all=bundle({"resource": agent_resource({"adt": "ep1"})}, {"resource": device}, {"resource": ENDPOINT})
    )
    source = await from_files(paths)
    assert source.endpoints == {"Endpoint/ep1": ENDPOINT}
    assert source.faults == {}
    assert source.origin == str(paths[0])


async def test_several_files(tmp_path: Path) -> None:
    source = await from_files(write(tmp_path, agent=agent_resource({"adt": "ep1", "oru": "ep2"}), endpoint=ENDPOINT))
    assert source.endpoints.keys() == {"Endpoint/ep1"}


@pytest.mark.parametrize("url", ["urn:uuid:0c4ed2b0-3b0a-4f5c-8f45-5f7a3b1f2e10", "https://example.org/x"])
async def test_full_urls(tmp_path: Path, url: str) -> None:
    agent = agent_resource([reference(url)])
    source = await from_files(write(tmp_path, all=bundle({"resource": agent}, {"resource": ENDPOINT, "fullUrl": url})))
    assert source.endpoints == {url: ENDPOINT}


async def test_contained_comes_before_the_rest(tmp_path: Path) -> None:
    inner = {**ENDPOINT, "id": "ep", "address": "mllp://127.0.0.1:1"}
    agent = {**agent_resource([reference("#ep")]), "contained": [inner, 5, {"id": 7}]}
    assert (await from_files(write(tmp_path, agent=agent))).endpoints == {"#ep": inner}


async def test_what_files_lack_comes_from_the_server(tmp_path: Path, client: FhirClient) -> None:
    agent = agent_resource({"adt": "ep1", "oru": "ep2", "gone": "ep3"})
    mine = {**ENDPOINT, "address": "mllp://127.0.0.1:9"}
    source = await from_files(write(tmp_path, agent=agent, mine=mine), client)
    addresses = {name: endpoint["address"] for name, endpoint in source.endpoints.items()}
    assert addresses == {"Endpoint/ep1": "mllp://127.0.0.1:9", "Endpoint/ep2": "mllp://127.0.0.1:2576"}
    assert list(source.faults) == ["Endpoint/ep3"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"resourceType":\n  nope}', r"agent\.json, line 2, column 3: not JSON: Expecting value"),
        (b"", r"agent\.json, line 1, column 1: not JSON"),
        (b"\xff\xfe{}", r"agent\.json: not UTF-8 text"),
        (b'{"resourceType": "Agent", "x": NaN}', "a number that is not JSON"),
        (b'{"resourceType": "Agent", "x": ' + b"9" * 5000 + b"}", "far too long"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"resourceType": "Agent"}' + b" " * 17 * 1024 * 1024, "larger than 16 MiB"),
        (b"null", "not a FHIR resource"),
        (b'{"resourceType": ["Agent"]}', "not a FHIR resource"),
        (b'{"resourceType": "Bundle", "entry": {}}', "Bundle.entry is not a list"),
        (b'{"resourceType": "Bundle", "entry": [null, {}, {"resource": 5}]}', "no Agent there"),
    ],
)
async def test_unusable_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "agent.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        await from_files([path])


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        await from_files([tmp_path / "none.json"])


async def test_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(agent_resource()), encoding="utf-8-sig")
    assert (await from_files([path])).agent["id"] == AGENT_ID


async def test_ambiguous_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one Agent is wanted, 2 are there"):
        await from_files(write(tmp_path, a=agent_resource(), b=agent_resource()))
    with pytest.raises(ConfigError, match=r"d\.json: Endpoint/ep1 is there twice"):
        await from_files(write(tmp_path, a=agent_resource(), c=ENDPOINT, d=ENDPOINT))


@pytest.mark.parametrize(
    "malformed", [None, "x", 5, {}, [None], ["x"], [{}], [{"endpoint": 5}], [{"endpoint": {"reference": 5}}]]
)
def test_malformed_channels_name_no_endpoint(malformed: object) -> None:
    assert endpoint_references({"channel": malformed}) == set()


async def test_load(tmp_path: Path, client: FhirClient, server: FhirServer) -> None:
    (path,) = write(tmp_path, agent={name: value for name, value in agent_resource().items() if name != "id"})
    assert "id" not in (await load([path], None)).agent
    assert (await load([], client, AGENT_ID)).agent["id"] == AGENT_ID
    assert (await load([path], client, "mine")).agent["id"] == "mine"
    with pytest.raises(ConfigError, match="give --agent-id"):
        await load([path], client)
