"""The resources the server holds."""

from __future__ import annotations

import pytest

from medagent.testing.fhir_server.store import Store


def test_a_resource_is_kept_as_a_copy_with_a_new_version_each_time() -> None:
    store = Store()
    given = {"resourceType": "Endpoint", "id": "e1", "address": "mllp://127.0.0.1:1"}
    first = store.put(given)
    given["address"] = "changed"
    assert store.get("Endpoint", "e1") == first
    assert first["address"] == "mllp://127.0.0.1:1"
    assert set(first["meta"]) == {"versionId", "lastUpdated", "author", "project", "compartment"}
    assert store.put(given)["meta"]["versionId"] != first["meta"]["versionId"]


def test_what_was_deleted_or_never_there_is_none() -> None:
    store = Store()
    identifier = store.put({"resourceType": "Agent"})["id"]
    assert store.get("Endpoint", identifier) is None
    store.delete("Agent", identifier)
    store.delete("Agent", identifier)
    assert store.get("Agent", identifier) is None


def test_a_resource_needs_a_type() -> None:
    with pytest.raises(ValueError, match="resourceType"):
        Store().put({"id": "x"})


def test_search_by_identifier_name_and_other_elements() -> None:
    store = Store()
    store.put({"resourceType": "Agent", "id": "1", "name": "Lab One", "identifier": [{"system": "urn:x", "value": "lab-1"}]})
    store.put({"resourceType": "Agent", "id": "2", "name": "Ward", "status": "off"})
    store.put({"resourceType": "Device", "id": "3", "name": "Lab Two"})

    def found(**parameters: str) -> list[str]:
        return [resource["id"] for resource in store.search("Agent", parameters)]

    assert found(identifier="lab-1") == found(identifier="urn:x|lab-1") == found(name="lab") == ["1"]
    assert found(status="off") == found(_id="2") == ["2"]
    assert found(name="two") == []
    assert found(_count="1") == ["1"]
