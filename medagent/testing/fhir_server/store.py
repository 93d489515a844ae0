"""The FHIR resources the server holds."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from medagent.testing.fhir_server.jsontext import JsonObject

PROJECT = "Project/7d0c1f5e-52a4-4b0e-9b59-3f4f5d2f6f10"
AUTHOR = "ClientApplication/0c9b6a3e-6a0f-4a55-8f0e-3f1f2a7b4c11"


def instant() -> str:
    """The time now as a FHIR instant, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Store:
    """Resources by type and id."""

    def __init__(self) -> None:
        self._resources: dict[tuple[str, str], JsonObject] = {}

    def put(self, resource: Mapping[str, object]) -> JsonObject:
        """Keep a copy with a new `meta`, and an `id` if it has none. Raises `ValueError` without a `resourceType`."""
        stored: JsonObject = copy.deepcopy(dict(resource))
        kind = stored.get("resourceType")
        if not isinstance(kind, str) or not kind:
            raise ValueError("a resource needs a resourceType")
        stored.setdefault("id", str(uuid.uuid4()))
        stored["meta"] = {
            "versionId": str(uuid.uuid4()),
            "lastUpdated": instant(),
            "author": {"reference": AUTHOR},
            "project": PROJECT.partition("/")[2],
            "compartment": [{"reference": PROJECT}],
        }
        self._resources[kind, stored["id"]] = stored
        return stored

    def get(self, kind: str, identifier: str) -> JsonObject | None:
        """The stored resource itself: not to be changed."""
        return self._resources.get((kind, identifier))

    def delete(self, kind: str, identifier: str) -> None:
        self._resources.pop((kind, identifier), None)

    def search(self, kind: str, parameters: Mapping[str, str]) -> list[JsonObject]:
        """What matches all `parameters`: identifier by value, name by its beginning, others by equality; `_count` limits."""
        count = int(parameters.get("_count", "20"))
        tests = [(name.lstrip("_"), value) for name, value in parameters.items() if name != "_count"]
        found = [
            resource
            for (stored_kind, _), resource in self._resources.items()
            if stored_kind == kind and all(_matches(resource, name, value) for name, value in tests)
        ]
        return found[:count]


def _matches(resource: JsonObject, name: str, value: str) -> bool:
    if name == "identifier":
        wanted = value.rpartition("|")[2]
        return any(identifier.get("value") == wanted for identifier in resource.get("identifier", []))
    held = resource.get(name)
    if name == "name":
        return isinstance(held, str) and held.lower().startswith(value.lower())
    return held == value
