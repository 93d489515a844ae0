"""docs/outbound.md: the push that it shows reaches a device."""

from __future__ import annotations

import json
from pathlib import Path

from medagent.testing.fhir_server import FhirServer
from medagent.testing.in_process import connected
from medagent.testing.markdown import Page
from medagent.testing.mllp_server import MllpServer
from medagent.testing.resources import AGENT_ID, agent_resource, device_resource

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "outbound.md")


async def test_the_push_that_is_shown_is_answered_by_the_device(tmp_path: Path) -> None:
    (block,) = [block for block in PAGE.blocks if block.language == "json"]
    async with MllpServer() as device:
        devices = [device_resource("analyser-1", f"mllp://127.0.0.1:{device.port}")]
        async with FhirServer(agent_resource(), devices=devices) as server, connected(server, tmp_path):
            result = await server.operations.post(AGENT_ID, "$push", {}, json.loads(block.text))
    assert result.status == 200
    assert "MSA|AA|ORDER-1" in result.text
    assert len(device.received) == 1
