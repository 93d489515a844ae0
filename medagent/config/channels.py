"""Agent.channel: from raw JSON to `ChannelConfig`, every problem found at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medagent.config.endpoints import EndpointRules, Listener, parse_endpoint
from medagent.config.model import ChannelConfig
from medagent.config.problems import Problem, Severity
from medagent.config.wording import from_findings, show
from medagent.fhir.source import Source
from medagent.fhir.validation import CHANNEL, validate
from medagent.printable import printable
from medagent.types import PUSH_CHANNEL


@dataclass(slots=True)
class ParsedChannels:
    """What the channels of an Agent say."""

    channels: list[ChannelConfig] = field(default_factory=list)
    # decoded JSON, of which only what is checked here is known
    sound: list[Mapping[str, Any]] = field(default_factory=list)
    """The entries without fault of their own."""
    problems: list[Problem] = field(default_factory=list)


def parse_channels(source: Source, rules: EndpointRules) -> ParsedChannels:
    """Read Agent.channel. A faulty channel is set aside; the others run."""
    parsed = ParsedChannels()
    raw = source.agent.get("channel")
    if raw is not None and not isinstance(raw, list):
        parsed.problems.append(Problem("Agent.channel", f"a list is expected, found {show(raw)}"))
    names: dict[str, str] = {}
    ports: dict[int, str] = {}
    for index, entry in enumerate(raw if isinstance(raw, list) else []):
        where = f"Agent.channel[{index}]"
        faults = entry_faults(entry, where)
        if not faults:
            parsed.sound.append(entry)
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and name:
            first = names.setdefault(name, where)
            if first != where:
                faults.append(Problem(f"{where}.name", f"{first} is called {show(name)} too, and keeps the name"))
        if name == PUSH_CHANNEL:
            faults.append(Problem(f"{where}.name", f"{PUSH_CHANNEL} is the queue's own name for pushes; choose another name"))
        listener = _listener(entry, where, source, rules, parsed.problems)
        if listener is not None and not faults and listener.enabled and listener.port:
            owner = ports.setdefault(listener.port, where)
            if owner != where:
                faults.append(Problem(where, f"port {listener.port} is taken by {owner}, which keeps it"))
        parsed.problems += faults
        if listener is None or faults:
            called = f"channel {show(name)}" if isinstance(name, str) and name else "this channel"
            aside = str(name) if isinstance(name, str) and name else where
            parsed.problems.append(Problem(where, f"set aside: {called} does not run", channel=aside, consequence=True))
        else:
            parsed.channels.append(_config(str(name), listener))
    return parsed


def _config(name: str, listener: Listener) -> ChannelConfig:
    return ChannelConfig(
        name=name,
        scheme=listener.scheme,
        host=listener.host,
        port=listener.port,
        address=listener.address,
        parameters=listener.parameters,
        enabled=listener.enabled,
        barred=listener.barred,
    )


# here and below: decoded JSON that nobody has validated yet
def _reference(entry: Any) -> str | None:
    endpoint = entry.get("endpoint") if isinstance(entry, dict) else None
    reference = endpoint.get("reference") if isinstance(endpoint, dict) else None
    return reference if isinstance(reference, str) and reference else None


def entry_faults(entry: Any, where: str) -> list[Problem]:
    """What is wrong with the entry itself; such a channel does not run."""
    if not isinstance(entry, dict):
        return [Problem(where, f"an object with name, endpoint and target is expected, found {show(entry)}")]
    problems = []
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        found = f", found {show(name)}" if "name" in entry else ""
        problems.append(Problem(f"{where}.name", f"a name is required{found}"))
    if _reference(entry) is None:
        problems.append(Problem(f"{where}.endpoint", 'an Endpoint is required: {"reference": "Endpoint/…"}'))
    targets = [target for target in ("targetReference", "targetUrl") if target in entry]
    if len(targets) != 1:
        found = "both are there" if targets else "neither is there"
        problems.append(Problem(where, f"exactly one of targetReference and targetUrl is required; {found}"))
    for target, kind, wanted in (("targetReference", dict, "an object"), ("targetUrl", str, "a text")):
        if target in entry and not isinstance(entry[target], kind):
            problems.append(Problem(f"{where}.{target}", f"{wanted} is expected, found {show(entry[target])}"))
    if problems:
        return problems
    return from_findings(where, validate(CHANNEL, entry))


def _listener(entry: Any, where: str, source: Source, rules: EndpointRules, problems: list[Problem]) -> Listener | None:
    if isinstance(entry, dict) and isinstance(entry.get("targetUrl"), str) and "targetReference" not in entry:
        text = "a server that hands messages to Bots only, as Medplum does, cannot use it; targetReference names a Bot"
        problems.append(Problem(f"{where}.targetUrl", text, severity=Severity.NOTE))
    reference = _reference(entry)
    if reference is None:
        return None
    place = f"{where}.endpoint.reference"
    if reference in source.faults:
        problems.append(Problem(place, source.faults[reference]))
        return None
    raw = source.endpoints.get(reference)
    if raw is None:
        problems.append(Problem(place, f"{show(reference)} is not there" + (f" (in {source.origin})" if source.origin else "")))
        return None
    return parse_endpoint(raw, printable(reference), rules, problems)
