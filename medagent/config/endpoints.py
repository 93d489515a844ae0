"""An Endpoint: from raw JSON to where and how a channel listens, every problem found at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from medagent.config.address import host_notes, parse_address, parse_parameters
from medagent.config.model import Value
from medagent.config.problems import Problem, Severity
from medagent.config.settings import Registry
from medagent.config.wording import from_findings, show
from medagent.fhir.validation import ENDPOINT, validate

STATUSES = ("active", "suspended", "error", "off", "entered-in-error", "test")
"""https://hl7.org/fhir/R4B/valueset-endpoint-status.html; all but `off` run, as with Medplum's agent."""


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What an Endpoint is checked against."""

    registry: Registry
    schemes: Collection[str]
    bind_any: bool
    local: bool
    """Whether this machine may be asked for its addresses."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What an Endpoint says."""

    scheme: str
    host: str
    port: int
    address: str
    """As spelled."""
    parameters: Mapping[str, Value]
    enabled: bool
    barred: str
    """As of `ChannelConfig.barred`."""


# decoded JSON that nobody has validated yet
def parse_endpoint(raw: Mapping[str, Any], name: str, rules: EndpointRules, problems: list[Problem]) -> Listener | None:
    """Read an Endpoint, called `name` in the problems; None if nobody can listen there."""
    if raw.get("resourceType") != "Endpoint":
        problems.append(Problem(name, f"an Endpoint is expected, found resourceType {show(raw.get('resourceType'))}"))
        return None
    address = raw.get("address")
    findings = dict(validate(ENDPOINT, raw))
    fault_of_address = findings.pop("address", None)
    problems += from_findings(name, findings.items())
    enabled = _enabled(raw.get("status"), name, problems)
    where = f"{name}.address"
    if not isinstance(address, str) or not address:
        found = f", found {show(address)}" if "address" in raw else ""
        problems.append(Problem(where, f"an address is required, such as mllp://127.0.0.1:2575{found}"))
        return None
    if fault_of_address is not None:
        problems += from_findings(where, [("", fault_of_address)])
        return None
    parsed = parse_address(address, where, rules.schemes, problems)
    if parsed is None:
        return None
    if enabled and not rules.bind_any:
        problems += host_notes(parsed.host, where, local=rules.local)
    registry = rules.registry
    parameters = parse_parameters(parsed.query, where, registry.parameters(parsed.scheme), registry.all_parameters(), problems)
    values = MappingProxyType(parameters.values)
    return Listener(parsed.scheme, parsed.host, parsed.port, address, values, enabled, parameters.barred)


def _enabled(status: object, name: str, problems: list[Problem]) -> bool:
    if status == "off":
        problems.append(Problem(f"{name}.status", "off: the channel does not listen", severity=Severity.NOTE))
    elif isinstance(status, str) and status not in STATUSES:
        text = f"unknown code {show(status)}; known are {', '.join(STATUSES)}"
        problems.append(Problem(f"{name}.status", text, "active", Severity.NOTE))
    return status != "off"
