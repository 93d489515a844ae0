"""Where a configuration came from, as raw JSON: every source ends as one of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """An Agent resource and the Endpoints it names, as decoded JSON and not yet checked."""

    # decoded JSON that nobody has validated yet
    agent: Mapping[str, Any]
    endpoints: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By reference, such as `Endpoint/ep1` (or `#ep1` for a contained one, or a Bundle entry's fullUrl)."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Endpoints that could not be read, by reference, with the reason."""
    origin: str = ""
    """Such as `agent.json` or `http://127.0.0.1:8103/fhir/R4/Agent/1`."""
