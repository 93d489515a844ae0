"""FHIR resources for tests."""

from __future__ import annotations

from medagent.testing.resources import agent_resource, device_resource, endpoint_resource


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
