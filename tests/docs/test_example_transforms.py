"""A third party's transform and observer, those of docs/plugins/transforms.md, installed from their wheels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from medagent.testing.resources import agent_resource


@pytest.mark.parametrize("name", ["no-test-patients", "audit"])
def test_it_is_listed_and_its_own_tests_pass(install_example: Callable[[str], Any], name: str) -> None:
    example = install_example(f"medagent-{name}")  # see conftest.InstalledExample
    listed = json.loads(example.run("-m", "medagent", "plugins", "--format", "json"))
    assert [plugin["error"] for plugin in listed if plugin["name"] == name] == [""]
    assert "passed" in example.run("-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_its_settings_are_listed_and_checked_like_built_in_ones(install_example: Callable[[str], Any], tmp_path: Path) -> None:
    """Of a distribution that is installed: in `settings`, the schema, `check` and the tables of the documentation."""
    audit, transform = install_example("medagent-audit"), install_example("medagent-no-test-patients")
    listed = json.loads(audit.run("-m", "medagent", "settings", "auditFile", "--format", "json"))
    assert [(item["name"], item["element"], item["declared_by"]) for item in listed["settings"]] == [
        ("auditFile", "valueString", "audit")
    ]
    assert "auditFile  (unset)" in audit.run("-m", "medagent", "settings", "audit")
    listed = json.loads(transform.run("-m", "medagent", "settings", "--scheme", "mllps", "notForwarded", "--format", "json"))
    assert [item["declared_by"] for item in listed["parameters"]] == ["no-test-patients"]

    schema = json.loads(audit.run("-m", "medagent", "settings", "--schema"))
    assert schema["$defs"]["settings"]["properties"]["auditFile"]["x-medagent-plugin"] == "audit"
    assert "notForwarded" not in schema["$defs"]["parameters"]["properties"]["mllp"]["properties"], "it is not installed there"
    for value, sound in ({"valueString": "/var/log/audit"}, True), ({"valueInteger": 5}, False), ({"valueString": " "}, False):
        agent = agent_resource(settings=[{"name": "auditFile", **value}])
        assert Draft202012Validator(schema).is_valid(agent) is sound
        (tmp_path / "agent.json").write_text(json.dumps(agent))
        command = f"import sys, medagent.cli.main as m; sys.argv[1:] = ['check', '--format', 'json', {str(tmp_path / 'agent.json')!r}]"
        checked = json.loads(audit.run("-c", f"{command}\ntry: m.main()\nexcept SystemExit: pass"))
        assert checked["well"] is sound

    tables = audit.run("-c", "import medagent.config.reference as r, medagent.plugins as p; print(r.settings_table(p.build_registry()[0]))")
    assert "| `auditFile` | `valueString` | unset |" in tables
