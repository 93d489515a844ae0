"""The program that cuts the link, small, and each planted bug found under its number."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

# a busy machine takes long for the traffic that each cut waits for
pytestmark = pytest.mark.timeout(120)
SMALL = ("--senders", "2", "--reach", "40000", "--hang-up", "1")


async def figures_of(*arguments: str) -> tuple[int | None, dict[str, int], str]:
    """Exit code, result and log of the program."""
    command = (sys.executable, str(Path(__file__).parent / "cuts.py"), *SMALL, *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    stdout, stderr = await process.communicate()
    assert stdout, stderr.decode()
    return process.returncode, json.loads(stdout), stderr.decode()


async def test_cuts() -> None:
    code, figures, log = await figures_of("--cuts", "20")
    assert code == 0, log
    assert (figures["cuts"], figures["violations"]) == (20, 0)
    assert figures["messages"] == figures["acknowledged"] > 0


OFTEN = [("sent_is_answered", "I1"), ("another_key", "I3"), ("by_remote", "I5")]
"""Some bugs need many cuts until they show: they are tried where there is time."""
SELDOM = [("again_later", "I2"), ("by_order", "I5"), ("kept_connections", "I9")]


@pytest.mark.parametrize(("bug", "invariant"), OFTEN)
async def test_a_planted_bug_is_found(bug: str, invariant: str) -> None:
    code, _, log = await figures_of("--cuts", "12", "--bug", bug)
    assert code == 1
    assert f"\n{invariant}: " in log


@pytest.mark.skipif(not os.environ.get("MEDAGENT_LONG_TESTS"), reason="takes long: set MEDAGENT_LONG_TESTS")
@pytest.mark.parametrize(("bug", "invariant"), SELDOM)
async def test_a_rare_planted_bug_is_found(bug: str, invariant: str) -> None:
    code, _, log = await figures_of("--cuts", "60", "--bug", bug, "--drain-seconds", "20")
    assert code == 1
    assert f"\n{invariant}: " in log
