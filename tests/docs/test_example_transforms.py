"""A third party's transform and observer, those of docs/plugins/transforms.md, installed from their wheels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from medagent.testing.resources import agent_resource

Install = Callable[[str], Any]  # gives a conftest.InstalledExample


@pytest.mark.parametrize("name", ["no-test-patients", "audit"])
def test_it_is_listed_and_its_own_tests_pass(install_example: Install, name: str) -> None:
    example = install_example(f"medagent-{name}")
    listed = json.loads(example.run("-m", "medagent", "plugins", "--format", "json"))
    assert [plugin["error"] for plugin in listed if plugin["name"] == name] == [""]
    assert "passed" in example.run("-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_parameters_of_a_distribution_are_listed_like_built_in_ones(install_example: Install) -> None:
    transform = install_example("medagent-no-test-patients")
    listed = json.loads(transform.run("-m", "medagent", "settings", "notForw", "--scheme", "mllps", "--format", "json"))
    assert [(item["name"], item["declared_by"]) for item in listed["parameters"]] == [("notForwarded", "no-test-patients")]
    schema = json.loads(transform.run("-m", "medagent", "settings", "--schema"))
    assert "notForwarded" in schema["$defs"]["parameters"]["properties"]["mllp"]["properties"]


def test_settings_of_a_distribution_are_listed_checked_and_documented_like_built_in_ones(
    install_example: Install, tmp_path: Path
) -> None:
    audit = install_example("medagent-audit")
    listed = json.loads(audit.run("-m", "medagent", "settings", "auditFile", "--format", "json"))
    assert [(item["name"], item["element"], item["declared_by"]) for item in listed["settings"]] == [
        ("auditFile", "valueString", "audit")
    ]
    assert "auditFile  (unset)" in audit.run("-m", "medagent", "settings", "audit")

    validator = Draft202012Validator(json.loads(audit.run("-m", "medagent", "settings", "--schema")))
    for value, sound in ({"valueString": "/var/log/audit"}, True), ({"valueInteger": 5}, False), ({"valueString": " "}, False):
        agent = agent_resource(settings=[{"name": "auditFile", **value}])
        assert validator.is_valid(agent) is sound
        assert _is_well(audit, agent, tmp_path / "agent.json") is sound

    table = "from medagent.plugins import build_registry; from medagent.config.reference import settings_table"
    assert "| `auditFile` | `valueString` | unset |" in audit.run("-c", f"{table}; print(settings_table(build_registry()[0]))")


# the example is an InstalledExample
def _is_well(example: Any, agent: dict[str, Any], path: Path) -> bool:
    """What `medagent check` says of an Agent."""
    path.write_text(json.dumps(agent))
    command = [sys.executable, "-m", "medagent", "check", "--format", "json", str(path)]
    checked = subprocess.run(command, env=os.environ | example.environ, stdout=subprocess.PIPE, timeout=60, check=False)
    well: bool = json.loads(checked.stdout)["well"]
    return well
