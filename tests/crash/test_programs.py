"""The programs that kill and replace agents, small: that nothing is wrong, not how fast."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

# a busy machine takes long to start so many agents
pytestmark = pytest.mark.timeout(300)


async def figures_of(program: str, *arguments: str) -> dict[str, int]:
    command = (sys.executable, str(Path(__file__).parent / program), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    found: dict[str, int] = json.loads(stdout)
    return found


@pytest.mark.parametrize("strategy", ["batched", "immediate"])
async def test_kills(strategy: str) -> None:
    small = ("--senders", "2", "--window", "20", "--longest", "0.3", "--backlog", "0")
    figures = await figures_of("kills.py", "--strategy", strategy, "--kills", "10", *small)
    assert (figures["kills"], figures["lost"], figures["inversions"], figures["violations"]) == (10, 0, 0, 0)
    assert figures["messages"] == figures["acknowledged"] > 0


async def test_a_restart_with_a_backlog() -> None:
    small = ("--strategy", "batched", "--kills", "1", "--longest", "0.05")
    figures = await figures_of("kills.py", *small, "--backlog", "2000", "--restart-limit", "60")
    assert figures["backlog_restart_ms"] > 0


async def test_a_second_process_takes_over() -> None:
    figures = await figures_of("second_process.py", "--rounds", "3", "--limit", "60")
    assert (figures["rounds"], figures["violations"]) == (3, 0)
