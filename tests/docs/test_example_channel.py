"""Third parties' channel types, those of docs/plugins/channel.md and channel-by-hand.md, installed from their wheels."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medagent.scaffold import Kind, Names, write
from medagent.testing.markdown import Page
from medagent.testing.process import AgentProcess

DOCS = Path(__file__).resolve().parents[2] / "docs"
NO_KILLS = ("-k", "not survives_a_kill")
"""Kills of whole agents take seconds: the channels that medagent ships, and a new one of the scaffold, are put through them."""
PORT = 4001
"""Of the address on the page; it may be taken on the machine of the test."""


# an InstalledExample, whose class is in a conftest
@pytest.fixture(scope="module")
def ward_monitor(install_example: Callable[[str], Any]) -> Any:
    return install_example("medagent-ward-monitor")


def test_the_one_by_hand_is_listed_and_its_own_tests_pass(install_example: Callable[[str], Any]) -> None:
    example = install_example("medagent-lines")
    listed = json.loads(example.run("-m", "medagent", "plugins", "--format", "json"))
    assert [plugin["error"] for plugin in listed if plugin["name"] == "lines"] == [""]
    assert "passed" in example.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *NO_KILLS)


def test_the_one_of_the_tutorial_is_listed_and_its_own_tests_pass(ward_monitor: Any) -> None:
    listed = json.loads(ward_monitor.run("-m", "medagent", "plugins", "--format", "json"))
    (plugin,) = [plugin for plugin in listed if plugin["name"] == "ward-monitor"]
    assert (plugin["state"], plugin["schemes"], len(plugin["parameters"])) == ("loaded", ["ward-monitor"], 8)
    assert "passed" in ward_monitor.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *NO_KILLS)


def definitions(path: Path) -> dict[str, str]:
    """What a module defines or assigns, and its imports, as source without its own docstring."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body[1:]
    return {getattr(node, "name", "") or ast.unparse(node).partition(" =")[0]: ast.unparse(node) for node in nodes}


def test_what_the_tutorial_begins_with_is_what_the_scaffold_writes(ward_monitor: Any, tmp_path: Path) -> None:
    folder = write(Kind.CHANNEL, Names.of("ward-monitor"), tmp_path)
    for file, changes in {
        "medagent_ward_monitor/plugin.py": {"WardMonitorChannel", "WardMonitorConnection", "from medagent.types import"},
        "tests/test_plugin.py": {"WardMonitorDevice", "TestWardMonitorChannel"},
    }.items():
        begun, finished = definitions(folder / file), definitions(ward_monitor.source / file)
        differ = {name for name in finished if begun.get(name) != finished[name]}
        assert {name for name in differ if "medagent_ward_monitor.frames" not in name} == {
            name for name in finished if name.startswith(tuple(changes))
        }
    assert f":{PORT}" in (folder / "README.md").read_text(encoding="utf-8")


async def test_what_the_tutorial_sends_is_answered_as_it_says(ward_monitor: Any, tmp_path: Path) -> None:
    (agent_json,) = [block for block in Page(ward_monitor.source / "README.md").blocks if block.language == "json"]
    (tmp_path / "agent.json").write_text(agent_json.text.replace(f":{PORT}", ":0"))
    page = Page(DOCS / "plugins" / "channel.md").text
    (program,) = re.findall(r"<!-- run -->\n```python\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(r"It prints `(.*?)`", page)
    arguments = ("--agent", str(tmp_path / "agent.json"), "--state-dir", str(tmp_path))
    async with AgentProcess(*arguments, environ=ward_monitor.environ) as agent, asyncio.timeout(20):
        await agent.listening("ward-monitor")
        _, port = agent.addresses["ward-monitor"]
        device = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program.replace(f"{PORT}", f"{port}"), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await device.communicate()
        assert await agent.stop() == 0
    assert output.decode().strip() == printed
