"""What of an Agent and its Endpoints may be kept on disk: what the configuration needs, by a list of elements, and no secret.

The configuration built from it is that of the whole. What is faulty stays faulty, without what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from medagent.config.address import parse_parameters
from medagent.config.agent_settings import parse_settings
from medagent.config.channels import entry_faults
from medagent.config.endpoints import EndpointRules, parse_endpoint
from medagent.config.settings import Registry
from medagent.fhir.source import Source, endpoint_references

UNUSABLE = "it could not be used when the configuration was saved"
"""`Source.faults` of an Endpoint that says no place to listen at."""

_TEXTS_OF_AGENT = ("resourceType", "id", "name", "status")
_TEXTS_OF_ENDPOINT = ("resourceType", "id", "status", "name")
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")


def reduce_source(source: Source, registry: Registry) -> Source:
    """The part of a source that may be kept. Settings and address parameters that nobody declares are not part of it."""
    agent = _texts(source.agent, _TEXTS_OF_AGENT)
    if settings := _settings(source.agent.get("setting"), registry):
        agent["setting"] = settings
    if isinstance(channels := source.agent.get("channel"), list):
        agent["channel"] = [_channel(entry) for entry in channels]
    wanted = endpoint_references(agent)
    faults = {_without_userinfo(name): _without_userinfo(reason) for name, reason in source.faults.items()}
    endpoints: dict[str, dict[str, Any]] = {}
    for name, raw in source.endpoints.items():
        reference = _without_userinfo(name)
        if reference in wanted and reference not in faults:
            endpoint = _endpoint(raw, registry)
            if endpoint is None:
                faults[reference] = UNUSABLE
            else:
                endpoints[reference] = endpoint
    return Source(agent, endpoints, faults, _without_userinfo(source.origin))


# here and below: decoded JSON that nobody has validated yet
def _settings(raw: Any, registry: Registry) -> list[dict[str, Any]]:
    given = parse_settings(raw, registry).given
    return [
        {"name": setting.name, setting.field: given[setting.name]} for setting in registry.settings() if setting.name in given
    ]


def _channel(entry: Any) -> Any:
    """An entry that is faulty keeps its place and its name, which no other may have."""
    if entry_faults(entry, ""):
        return _texts(entry, ("name",)) if isinstance(entry, dict) else {}
    kept = {"name": entry["name"], "endpoint": {"reference": _without_userinfo(entry["endpoint"]["reference"])}}
    if "targetUrl" in entry:
        return kept | {"targetUrl": _origin_of(entry["targetUrl"])}
    return kept | {"targetReference": _texts(entry["targetReference"], ("reference",))}


def _endpoint(raw: Mapping[str, Any], registry: Registry) -> dict[str, Any] | None:
    """None if nobody could listen there."""
    address = raw.get("address")
    if not isinstance(address, str):
        return None
    # whether a plugin offers the scheme is asked when the configuration is built
    rules = EndpointRules(registry, (address.partition(":")[0].lower(),), bind_any=False, local=False)
    if parse_endpoint(raw, "", rules, []) is None:
        return None
    kept = _texts(raw, _TEXTS_OF_ENDPOINT) | {"address": _address(address, registry)}
    if "connectionType" in raw:
        kept["connectionType"] = _coding(raw["connectionType"])
    if isinstance(concepts := raw.get("payloadType"), list):
        kept["payloadType"] = [_concept(each) for each in concepts]
    return kept


def _address(address: str, registry: Registry) -> str:
    """Without userinfo and the parameters that nobody declares; one that bars the channel keeps its name, so it still does."""
    parts = urlsplit(address)
    known, others = registry.parameters(parts.scheme), registry.all_parameters()

    def kept(given: str) -> str:
        name = next((name for name, _ in parse_qsl(given, keep_blank_values=True)), None)
        if name in known:
            return given
        label = given.partition("=")[0]
        return label if parse_parameters(label, "", known, others, []).barred else ""

    query = "&".join(text for given in parts.query.split("&") if (text := kept(given)))
    if "@" not in parts.netloc and query == parts.query:
        return address
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return f"{place}?{query}" if query else place


def _texts(raw: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: raw[name] for name in names if isinstance(raw.get(name), str)}


def _coding(value: Any) -> dict[str, Any]:
    return _texts(value, ("system", "code")) if isinstance(value, dict) else {}


def _concept(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    kept: dict[str, Any] = _texts(value, ("text",))
    codings = value.get("coding")
    return kept | ({"coding": [_coding(each) for each in codings]} if isinstance(codings, list) else {})


def _origin_of(url: str) -> str:
    """Scheme and host of a URL that is not used: its path may be as good as a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "urn:unknown"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"


def _without_userinfo(text: str) -> str:
    return _USERINFO.sub("", text)
