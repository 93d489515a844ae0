"""Tests of the audit trail: in an agent, and when the disk is slow or does not take it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import medagent_audit
from medagent.testing.command_line import run_main
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.types import InboundMessage, State
from medagent_audit import Audit

MESSAGES = [
    f"MSH|^~\\&|LAB|NORTH|AGENT|MAIN|20260102||ADT^A08|D{number:04}|P|2.5.1\r".encode()
    for number in range(20)
]


def observed(audit: Audit, count: int = 1) -> None:
    """A batch as the core tells of it."""
    messages = [InboundMessage(b"MSH", "secret", "10.0.0.7:41022") for _ in range(count)]
    audit.medagent_messages_accepted("adt", messages)
    audit.medagent_messages_settled("adt", [(message, State.FILTERED) for message in messages])


def written(path: Path) -> list[dict[str, Any]]:  # decoded JSON
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def audit() -> Iterator[Audit]:
    audit = Audit()
    yield audit
    audit.end()


def test_the_plugin_is_installed() -> None:
    listed = json.loads(run_main("plugins", "--format", "json").stdout)
    assert [plugin["error"] for plugin in listed if plugin["name"] == "audit"] == [""]


async def test_every_message_of_an_agent_is_in_the_counts_and_nothing_else_of_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "audit.jsonl"
    agent = agent_resource({"adt": "adt"}, {"auditFile": str(path)})
    async with FhirServer(agent, [endpoint_resource("adt", "mllp://127.0.0.1:0")]) as server:
        arguments = server_arguments(server.base_url, AGENT_ID, tmp_path)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as running:
            await running.listening("adt")
            async with await MllpClient.connect(*running.addresses["adt"]) as device:
                await device.send(*MESSAGES)
                for _ in MESSAGES:
                    await device.receive()
            assert await running.stop() == 0
    lines = written(path)
    assert sum(line.get("accepted", 0) for line in lines) == len(MESSAGES)
    assert sum(line.get("ended", {}).get("response_sent", 0) for line in lines) == len(MESSAGES)
    assert {tuple(line)[:2] for line in lines} == {("at", "channel")}
    assert "D0001" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_batch_is_a_line(audit: Audit, tmp_path: Path) -> None:
    audit.begin(str(tmp_path / "audit.jsonl"))
    observed(audit, 3)
    audit.end()
    observed(audit)
    accepted, ended = written(tmp_path / "audit.jsonl")
    assert (accepted["channel"], accepted["accepted"]) == ("adt", 3)
    assert ended["ended"] == {"filtered": 3}


def test_what_cannot_be_written_is_told(audit: Audit, tmp_path: Path) -> None:
    audit.begin(str(tmp_path))
    observed(audit)
    thread = audit._thread
    audit.end()
    assert thread is not None
    assert not thread.is_alive()
    audit.path = str(tmp_path)
    [(what, well, reason)] = audit.medagent_health()
    assert (what, well) == ("audit trail", False)
    assert "Is a directory" in reason


def test_a_disk_that_hangs_blocks_nobody(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(medagent_audit, "MOST_LINES", 10)
    monkeypatch.setattr(medagent_audit, "PATIENCE", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it waits until somebody reads
    audit.begin(str(pipe))
    for _ in range(50):
        observed(audit)
    assert 80 <= audit.lost <= 90
    assert "line(s) are lost" in audit.medagent_health()[0][2]
    audit.end()
    with pipe.open():
        pass  # lets the thread go


def test_without_the_setting_nothing_happens(audit: Audit) -> None:
    audit.begin("")
    observed(audit)
    assert audit.medagent_health() == []
