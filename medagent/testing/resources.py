"""FHIR resources for tests and the demo, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

# a FHIR resource or element as decoded JSON: what is in it differs by type, and a test may want it faulty
Resource = dict[str, Any]

AGENT_ID = "2f6f7c1e-7a0b-4c55-9d5e-6f1f0b7c9a01"
BOT = "Bot/5b0f3a52-0f8f-4d7a-8c4f-1f7f1d1a2b02"


def resources_of(
    agent: Mapping[str, Any] | Path | None,
    endpoints: Iterable[Mapping[str, Any]] = (),
    channels: Mapping[str, str] | None = None,
    settings: Mapping[str, bool | int | float | str] | None = None,
) -> tuple[Resource, list[Resource]]:
    """An Agent and its Endpoints: from an Agent, or a Bundle with one, or a file with either, or else from the addresses of
    `channels` and from `settings` by their names."""
    if agent is None:
        addresses = channels or {}
        made = agent_resource({name: name for name in addresses}, settings or {})
        return made, [endpoint_resource(name, address) for name, address in addresses.items()]
    if channels is not None or settings is not None:
        raise ValueError("`channels` and `settings` are for an Agent that is made here: give either them or `agent`")
    document = json.loads(agent.read_text(encoding="utf-8")) if isinstance(agent, Path) else dict(agent)
    entries = document.get("entry", []) if document.get("resourceType") == "Bundle" else [{"resource": document}]
    found = [entry["resource"] for entry in entries]
    agents = [one for one in found if one.get("resourceType") == "Agent"]
    if len(agents) != 1:
        raise ValueError(f"one Agent is wanted, {len(agents)} are there")
    return agents[0], [*(one for one in found if one.get("resourceType") == "Endpoint"), *map(dict, endpoints)]


def agent_resource(
    channels: Mapping[str, str] | Sequence[Resource] = (),
    settings: Mapping[str, bool | int | float | str] | Sequence[Resource] = (),
    id: str = AGENT_ID,  # noqa: A002  FHIR's name
    name: str = "Test Agent",
    status: str = "active",
) -> Resource:
    """An Agent (https://www.medplum.com/docs/api/fhir/medplum/agent).

    `channels` maps the channel's name to its Endpoint's id, and `settings` the setting's name to its value; either can also
    be the JSON of the entries.
    """
    if isinstance(channels, Mapping):
        channels = [channel(channel_name, endpoint) for channel_name, endpoint in channels.items()]
    if isinstance(settings, Mapping):
        settings = [setting(setting_name, value) for setting_name, value in settings.items()]
    resource: Resource = {"resourceType": "Agent", "id": id, "name": name, "status": status}
    if settings:
        resource["setting"] = [dict(entry) for entry in settings]
    if channels:
        resource["channel"] = [dict(entry) for entry in channels]
    return resource


def channel(name: str, endpoint: str) -> Resource:
    """An entry of Agent.channel; `endpoint` is the Endpoint's id."""
    return {"name": name, "endpoint": {"reference": f"Endpoint/{endpoint}"}, "targetReference": {"reference": BOT}}


def setting(name: str, value: bool | float | str) -> Resource:
    """An entry of Agent.setting, its value[x] by the type of `value`."""
    if isinstance(value, bool):
        return {"name": name, "valueBoolean": value}
    if isinstance(value, int):
        return {"name": name, "valueInteger": value}
    if isinstance(value, float):
        return {"name": name, "valueDecimal": value}
    return {"name": name, "valueString": value}


def endpoint_resource(id: str, address: str, status: str = "active") -> Resource:  # noqa: A002  FHIR's name
    """An Endpoint (https://hl7.org/fhir/R4/endpoint.html) at `address`, such as `mllp://127.0.0.1:2575`."""
    return {
        "resourceType": "Endpoint",
        "id": id,
        "status": status,
        "connectionType": {
            "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
            "code": "hl7v2-mllp",
        },
        "payloadType": [{"coding": [{"system": "http://hl7.org/fhir/endpoint-payload-type", "code": "any"}]}],
        "address": address,
    }


def device_resource(id: str, url: str) -> Resource:  # noqa: A002  FHIR's name
    """A Device (https://hl7.org/fhir/R4/device.html) that messages can be pushed to."""
    return {"resourceType": "Device", "id": id, "status": "active", "url": url}
