"""A third party's channel type, the one of docs/plugins/channel.md, installed from its wheel."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def test_it_is_listed_and_its_own_tests_pass(install_example: Callable[[str], Any]) -> None:  # see conftest.InstalledExample
    example = install_example("medagent-lines")
    listed = json.loads(example.run("-m", "medagent", "plugins", "--format", "json"))
    assert [plugin["error"] for plugin in listed if plugin["name"] == "lines"] == [""]
    assert "passed" in example.run("-m", "pytest", "-q", "-p", "no:cacheprovider")
