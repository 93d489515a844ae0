"""FHIR resources for tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medagent.testing.resources import agent_resource, device_resource, endpoint_resource, resources_of


def test_an_agent_with_channels_and_settings_by_name() -> None:
    settings: dict[str, bool | int | float | str] = {
        "batchEnabled": True,
        "batchSize": 50,
        "factor": 1.5,
        "queueStrategy": "batched",
    }
    agent = agent_resource({"adt": "ep1"}, settings, id="a1")
    assert agent["id"] == "a1"
    assert agent["channel"][0]["name"] == "adt"
    assert agent["channel"][0]["endpoint"] == {"reference": "Endpoint/ep1"}
    assert agent["channel"][0]["targetReference"]["reference"].startswith("Bot/")
    assert agent["setting"] == [
        {"name": "batchEnabled", "valueBoolean": True},
        {"name": "batchSize", "valueInteger": 50},
        {"name": "factor", "valueDecimal": 1.5},
        {"name": "queueStrategy", "valueString": "batched"},
    ]


def test_entries_can_be_given_as_json() -> None:
    faulty = {"name": "batchSize", "valueString": "50"}
    assert agent_resource(settings=[faulty])["setting"] == [faulty]


def test_an_agent_without_channels_has_no_empty_lists() -> None:
    assert not {"channel", "setting"} & set(agent_resource())


def test_endpoint_and_device() -> None:
    endpoint = endpoint_resource("ep1", "mllp://127.0.0.1:2575", status="off")
    assert (endpoint["id"], endpoint["address"], endpoint["status"]) == ("ep1", "mllp://127.0.0.1:2575", "off")
    assert device_resource("d1", "mllp://127.0.0.1:1")["url"] == "mllp://127.0.0.1:1"


AGENT = agent_resource({"lab": "1"})
ENDPOINT = endpoint_resource("1", "mllp://127.0.0.1:0")


def test_an_agent_and_its_endpoints_from_whatever_holds_them(tmp_path: Path) -> None:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": ENDPOINT}, {"resource": AGENT}]}
    file = tmp_path / "agent.json"
    file.write_text(json.dumps(bundle))
    assert resources_of(AGENT, [ENDPOINT]) == resources_of(bundle) == resources_of(file) == (AGENT, [ENDPOINT])
    made, endpoints = resources_of(None, channels={"lab": "mllp://127.0.0.1:0"}, settings={"batchSize": 3})
    assert (made["setting"], endpoints[0]["address"]) == ([{"name": "batchSize", "valueInteger": 3}], "mllp://127.0.0.1:0")


def test_what_is_no_one_agent_is_refused() -> None:
    with pytest.raises(ValueError, match="0 are there"):
        resources_of({"resourceType": "Bundle", "entry": []})
    with pytest.raises(ValueError, match="either them or `agent`"):
        resources_of(AGENT, settings={"batchSize": 3})
