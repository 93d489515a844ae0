"""`Agent` behaves as fhir.resources' own resources do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.organization import Organization
from pydantic import ValidationError

from medagent.fhir.agent import Agent, AgentChannel, AgentSetting, register

EXTENSION = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
RESOURCE: dict[str, Any] = {
    "resourceType": "Agent",
    "id": "a1",
    "contained": [{"resourceType": "Organization", "id": "o", "name": "North"}],
    "extension": [{"url": "https://example.org/fhir/StructureDefinition/floor", "valueInteger": 2}],
    "identifier": [{"system": "https://example.org/agents", "value": "1"}],
    "name": "North Wing",
    "_name": EXTENSION,
    "status": "active",
    "device": {"reference": "Device/1"},
    "channel": [
        {"name": "adt", "endpoint": {"reference": "Endpoint/1"}, "targetReference": {"reference": "Bot/1"}},
        {
            "name": "oru",
            "endpoint": {"reference": "Endpoint/2"},
            "targetUrl": "https://example.org/hook",
            "_targetUrl": EXTENSION,
        },
    ],
    "setting": [
        {"id": "s1", "name": "text", "valueString": "x"},
        {"name": "switch", "valueBoolean": False},
        {"name": "share", "valueDecimal": 0.5},
        {"_name": EXTENSION, "valueInteger": -1, "_valueInteger": EXTENSION},
    ],
}


def test_round_trip_keeps_everything_in_the_order_of_the_elements() -> None:
    assert Agent.model_validate(RESOURCE).model_dump_json() == json.dumps(RESOURCE, separators=(",", ":"))


@pytest.mark.parametrize(
    ("change", "location"),
    [
        ({"name": None, "_name": None}, ("name",)),
        ({"status": None}, ("status",)),
        ({"colour": "red"}, ("colour",)),
        ({"setting": [{"name": "a"}]}, ("setting", 0)),
        ({"setting": [{"name": "a", "valueInteger": 1, "valueString": "x"}]}, ("setting", 0)),
        ({"setting": [{"valueInteger": 1}]}, ("setting", 0, "name")),
        ({"setting": [{"name": "a", "valueInteger": 2**31}]}, ("setting", 0, "valueInteger")),
        ({"channel": [{**RESOURCE["channel"][0], "targetUrl": "https://example.org"}]}, ("channel", 0)),
        ({"channel": [{"name": "a", "endpoint": {"reference": "Endpoint/1"}}]}, ("channel", 0)),
        ({"channel": [{"name": "a", "targetUrl": "https://example.org"}]}, ("channel", 0, "endpoint")),
    ],
)
def test_rules(change: dict[str, Any], location: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        Agent.model_validate(RESOURCE | change)
    assert [error["loc"] for error in caught.value.errors()] == [location]


def test_an_extension_stands_for_a_required_value() -> None:
    agent = Agent.model_validate({"resourceType": "Agent", "_name": EXTENSION, "_status": EXTENSION})
    assert json.loads(agent.model_dump_json()) == {"resourceType": "Agent", "_name": EXTENSION, "_status": EXTENSION}


@pytest.mark.parametrize("model", [Agent, AgentSetting, AgentChannel])
def test_the_sequence_names_every_element(model: type[Agent | AgentSetting | AgentChannel]) -> None:
    elements = {info.alias for name, info in model.model_fields.items() if not name.endswith("__ext")}
    assert elements - {"fhir_comments", "resourceType"} == set(model.elements_sequence())
    assert set(model.summary_elements_sequence()) <= set(model.elements_sequence())


def test_summary() -> None:
    assert "setting" not in Agent.model_validate(RESOURCE).model_dump(summary_only=True)


def test_registered_in_bundle_and_contained() -> None:
    register()
    register()
    bundle = Bundle.model_validate({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": RESOURCE}]})
    assert json.loads(bundle.model_dump_json())["entry"][0]["resource"] == RESOURCE
    assert isinstance(bundle.entry[0].resource, Agent)
    organization = Organization.model_validate({"resourceType": "Organization", "name": "x", "contained": [RESOURCE]})
    assert isinstance(organization.contained[0], Agent)
    assert get_fhir_model_class("Agent") is Agent


def test_the_library_is_loaded_only_by_what_validates() -> None:
    """It takes 0.3 s, which most commands should not pay."""
    modules = "medagent.config.build, medagent.configure, medagent.fhir.source, medagent.fhir.access, medagent.plugins"
    script = f"import sys, {modules}; sys.exit('fhir.resources.R4B.fhirtypes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
