"""A third party's queue strategy, the one of docs/plugins/strategy.md: installed from its wheel, chosen by a setting, used."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from medagent.admin import call
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

NAME = "medagent-commit-delay"
AGENT = agent_resource({"adt": "adt"}, {"queueStrategy": "commitDelay", "commitDelayMs": 5})
ENDPOINT = endpoint_resource("adt", "mllp://127.0.0.1:0?enhanced=true")
COUNT = 25
MESSAGES = [f"MSH|^~\\&|LAB|NORTH|AGENT|MAIN|20260102||ADT^A08|D{number:04}|P|2.5.1\r".encode() for number in range(COUNT)]


@pytest.fixture(scope="module")
def example(install_example: Callable[[str], Any]) -> Any:  # an InstalledExample, whose class is in a conftest
    return install_example(NAME)


async def run_and_send(state_dir: Path, environ: Mapping[str, str]) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """Send the messages to an agent; returns its status as decoded JSON, its log likewise, and the acknowledgment codes."""
    async with FhirServer(AGENT, [ENDPOINT]) as server, asyncio.timeout(60):
        arguments = [*server_arguments(server.base_url, AGENT_ID, state_dir), "--log-level", "debug", "--log-format", "json"]
        async with AgentProcess(*arguments, environ={**SERVER_ENVIRON, **environ}) as agent:
            await agent.listening("adt")
            async with await MllpClient.connect(*agent.addresses["adt"]) as device:
                await device.send(*MESSAGES)
                answers = [(await device.receive()).decode() for _ in range(2 * COUNT)]
            status = await asyncio.to_thread(call, state_dir, "status")
            assert await agent.stop() == 0
    return (
        status,
        [json.loads(line) for line in agent.log if line.startswith("{")],
        re.findall(r"\rMSA\|(\w\w)\|", "".join(answers)),
    )


def test_its_own_tests_pass(example: Any) -> None:
    assert "passed" in example.run("-m", "pytest", "-q", "-p", "no:cacheprovider")


def test_it_is_listed_and_its_setting_is_known(example: Any, tmp_path: Path) -> None:
    listed = json.loads(example.run("-m", "medagent", "plugins", "--format", "json"))
    (plugin,) = [plugin for plugin in listed if plugin["name"] == "commit-delay"]
    assert plugin["error"] == ""
    assert plugin["origin"] == f"{NAME} 0.1.0"

    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": AGENT}, {"resource": ENDPOINT}]}
    (tmp_path / "agent.json").write_text(json.dumps(bundle))
    checked = json.loads(example.run("-m", "medagent", "check", "--format", "json", str(tmp_path / "agent.json")))
    assert checked["well"]
    assert checked["configuration"]["queue_strategy"] == "commitDelay"
    assert checked["configuration"]["settings"]["commitDelayMs"] == 5


async def test_messages_flow_through_it(example: Any, tmp_path: Path) -> None:
    status, log, codes = await run_and_send(tmp_path, example.environ)
    committed = [
        int(entry["message"].removeprefix("committing ")) for entry in log if entry["logger"] == "medagent_commit_delay.plugin"
    ]
    assert sum(committed) == COUNT
    assert status["problems"] == []
    assert status["queue"]["states"]["response_sent"] == COUNT
    assert sorted(codes) == ["AA"] * COUNT + ["CA"] * COUNT


async def test_without_it_the_agent_says_so_and_batches(tmp_path: Path) -> None:
    status, _, codes = await run_and_send(tmp_path, {})
    assert any(
        "no installed plugin offers the strategy 'commitDelay'; using 'batched'" in reason for reason in status["reasons"]
    )
    assert sorted(codes) == ["AA"] * COUNT + ["CA"] * COUNT
