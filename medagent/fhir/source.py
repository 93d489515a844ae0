"""The Agent and its Endpoints, from the FHIR server or from files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medagent.errors import ConfigError
from medagent.fhir.client import FhirClient, ResourceNotReadable
from medagent.fhir.files import FileResource, read_resources

__all__ = ["Source"]

# a literal reference, relative or absolute, with or without a version (https://hl7.org/fhir/R4B/references.html#literal)
_ENDPOINT = re.compile(r"(?P<base>https?://.*/)?(?P<relative>Endpoint/[A-Za-z0-9\-.]{1,64})(/_history/[A-Za-z0-9\-.]{1,64})?")


@dataclass(frozen=True, slots=True)
class Source:
    """An Agent resource and the Endpoints it names, as decoded JSON and not yet checked."""

    # decoded JSON that nobody has validated yet
    agent: Mapping[str, Any]
    """The Agent resource."""
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By reference, such as `Endpoint/ep1` (or `#ep1` for a contained one, or a Bundle entry's fullUrl)."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Endpoints that could not be read, by reference, with the reason."""
    origin: str = ""
    """Such as `agent.json` or `http://127.0.0.1:8103/fhir/R4/Agent/1`."""


async def load(files: Sequence[Path], client: FhirClient | None, agent_id: str = "") -> Source:
    """The Agent in `files`, or else the server's `agent_id`. Raises `ConfigError`, `NotReady` or `AuthenticationFailed`."""
    if client is None:
        return await from_files(files)
    if not files:
        return await from_server(client, agent_id)
    source = await from_files(files, client)
    agent_id = agent_id or source.agent.get("id", "")
    if not isinstance(agent_id, str) or not agent_id:
        raise ConfigError(f"the Agent in {source.origin} has no id, by which the server would know it: give --agent-id")
    return Source({**source.agent, "id": agent_id}, source.endpoints, source.faults, source.origin)


async def from_server(client: FhirClient, agent_id: str) -> Source:
    """Read the Agent, then its Endpoints at the same time.

    An Endpoint that the server does not give becomes a fault; raises `NotReady` or `AuthenticationFailed`.
    """
    reference = f"Agent/{agent_id}"
    agent = await client.read(reference)
    found = _contained(agent)
    endpoints, faults = await _read_endpoints(client, endpoint_references(agent) - found.keys())
    return Source(agent, found | endpoints, faults, client.url(reference))


async def from_files(paths: Sequence[Path], client: FhirClient | None = None) -> Source:
    """One Agent and its Endpoints from JSON files; with a client, Endpoints not among them are read from the server.

    Raises `ConfigError` for unusable files, and for none or several Agents; with a client as `from_server`.
    """
    resources = read_resources(paths)
    names = ", ".join(str(path) for path in paths)
    agents = [item for item in resources if item.resource.get("resourceType") == "Agent"]
    if len(agents) != 1:
        places = ", ".join(str(item.file) for item in agents)
        raise ConfigError(
            f"{names}: no Agent there" if not agents else f"one Agent is wanted, {len(agents)} are there: {places}"
        )
    agent = agents[0].resource
    by_name = _index(item for item in resources if item.resource.get("resourceType") == "Endpoint")
    contained = _contained(agent)
    found: dict[str, dict[str, Any]] = {}  # decoded JSON that nobody has validated yet
    missing = set()
    for reference in endpoint_references(agent):
        resource = contained.get(reference) or by_name.get(reference) or by_name.get(_relative(reference) or "")
        if resource is None:
            missing.add(reference)
        else:
            found[reference] = resource
    endpoints, faults = await _read_endpoints(client, missing) if client else ({}, {})
    return Source(agent, found | endpoints, faults, names)


# here and below: decoded JSON that nobody has validated yet
def endpoint_references(agent: Mapping[str, Any]) -> set[str]:
    """The references of the channels to Endpoints, as spelled; what is malformed is left out."""
    channels = agent.get("channel")
    references = set()
    for channel in channels if isinstance(channels, list) else []:
        endpoint = channel.get("endpoint") if isinstance(channel, dict) else None
        reference = endpoint.get("reference") if isinstance(endpoint, dict) else None
        if isinstance(reference, str) and reference:
            references.add(reference)
    return references


def _contained(agent: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Contained resources by their reference, `#id` (https://hl7.org/fhir/R4B/references.html#contained)."""
    contained = agent.get("contained")
    return {
        f"#{resource['id']}": resource
        for resource in (contained if isinstance(contained, list) else [])
        if isinstance(resource, dict) and isinstance(resource.get("id"), str)
    }


def _index(items: Iterable[FileResource]) -> dict[str, dict[str, Any]]:
    """Endpoints by `Endpoint/id` and fullUrl; raises `ConfigError` if two have one name."""
    by_name: dict[str, dict[str, Any]] = {}
    for item in items:
        resource_id = item.resource.get("id")
        names = {f"Endpoint/{resource_id}" if isinstance(resource_id, str) and resource_id else "", item.full_url} - {""}
        for name in names:
            if name in by_name:
                raise ConfigError(f"{item.file}: {name} is there twice")
            by_name[name] = item.resource
    return by_name


def _relative(reference: str) -> str | None:
    match = _ENDPOINT.fullmatch(reference)
    return match["relative"] if match else None


async def _read_endpoints(client: FhirClient, references: Iterable[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Endpoints and faults, by reference."""

    async def read(reference: str) -> dict[str, Any] | str:
        match = _ENDPOINT.fullmatch(reference)
        if match is None:
            return f"{reference} is not a reference to an Endpoint, such as Endpoint/1"
        if match["base"] not in (None, client.url("")):
            return f"{reference} is on another server than {client.base_url}"
        try:
            return await client.read(match["relative"])
        except ResourceNotReadable as error:
            return str(error)

    ordered = sorted(references)
    results = await asyncio.gather(*(read(reference) for reference in ordered), return_exceptions=True)
    endpoints: dict[str, dict[str, Any]] = {}
    faults: dict[str, str] = {}
    for reference, result in zip(ordered, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        if isinstance(result, str):
            faults[reference] = result
        else:
            endpoints[reference] = result
    return endpoints, faults
