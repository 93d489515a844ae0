"""docs/monitoring.md and docs/batching.md: exit codes, states and figures are those of the code."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from medagent import errors
from medagent.admin import call
from medagent.testing.fhir_server import FhirServer
from medagent.testing.markdown import Page, rows
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.types import State

DOCS = Path(__file__).resolve().parents[2] / "docs"
MONITORING = Page(DOCS / "monitoring.md")
BATCHING = Page(DOCS / "batching.md")
BESIDE_ERRORS = {0, 2, 130, 143}
"""Success, usage, and the signals 2 and 15."""


def test_every_exit_code_is_documented_and_no_other() -> None:
    tree = [errors.MedagentError]
    for error in tree:
        tree += error.__subclasses__() if error.__module__ == errors.__name__ else []
    wanted = {error.exit_code for error in tree if error.__module__ == errors.__name__} | BESIDE_ERRORS
    documented = {int(code) for cells in rows(MONITORING.section("Exit codes")) for code in re.findall(r"\d+", cells[0])}
    assert documented == wanted


def test_every_state_is_documented() -> None:
    ended = {}
    for cells in rows(BATCHING.section("States of a message")):
        if match := re.fullmatch(r"`(\w+)`", cells[0]):
            ended[match[1]] = cells[1].startswith("ended:")
    assert ended == {state.name.lower(): state.ended for state in State}


def named(text: str) -> set[str]:
    """All names in the code spans of a section, and of the paths in them."""
    return {part for span in re.findall(r"`([^`\n]+)`", text) for part in span.split(".")}


# figures are decoded JSON
def keys_of(value: Any) -> set[str]:
    """The names of all figures, but for those of states and channels, which are data."""
    if isinstance(value, list):
        return {key for item in value for key in keys_of(item)}
    if not isinstance(value, dict):
        return set()
    kept = {key: item for key, item in value.items() if key not in {"adt", "states", *(state.name.lower() for state in State)}}
    inner = {key for name, item in value.items() if name in {*kept, "adt"} for key in keys_of(item)}
    return set(kept) | inner


async def test_every_figure_is_documented(tmp_path: Path) -> None:
    server = FhirServer(
        agent_resource({"adt": "adt"}, {"logStatsFreqSecs": 1}),
        [endpoint_resource("adt", "mllp://127.0.0.1:0?enhanced=true")],
    )
    await server.start()
    try:
        async with AgentProcess(*server_arguments(server.base_url, AGENT_ID, tmp_path), environ=SERVER_ENVIRON) as agent:
            await agent.listening("adt")
            async with await MllpClient.connect(*agent.addresses["adt"]) as device:
                await device.send(b"MSH|^~\\&|LAB|NORTH|AGENT|MAIN|20260102||ADT^A08|D0001|P|2.5.1\r")
                await device.receive()
                await device.receive()
            stats = await asyncio.to_thread(call, tmp_path, "stats")
            status = await asyncio.to_thread(call, tmp_path, "status")
            line = await agent.logged("[adt ")
            assert await agent.stop() == 0
    finally:
        await server.close()

    assert keys_of(stats) | {"states"} <= named(MONITORING.section("medagent queue stats --format json"))
    assert keys_of({**status, "queue": {}}) <= named(MONITORING.section("medagent status --format json"))
    example = next(block.text for block in MONITORING.blocks if block.text.startswith("Agent stats "))
    assert re.findall(r"(\w+)=", example) == re.findall(r"(\w+)=", line)
    assert {"depth", "oldest", "in", "out", "commit", "answer"} <= named(MONITORING.section("The statistics line"))
