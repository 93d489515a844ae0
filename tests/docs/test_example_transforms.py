"""A third party's transform and observer, those of docs/plugins/transforms.md, installed from their wheels."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("name", ["no-test-patients", "audit"])
def test_it_is_listed_and_its_own_tests_pass(install_example: Callable[[str], Any], name: str) -> None:
    example = install_example(f"medagent-{name}")  # see conftest.InstalledExample
    listed = json.loads(example.run("-m", "medagent", "plugins", "--format", "json"))
    assert [plugin["error"] for plugin in listed if plugin["name"] == name] == [""]
    assert "passed" in example.run("-m", "pytest", "-q", "-p", "no:cacheprovider")
