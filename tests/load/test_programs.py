"""The load programs, small: that everybody is answered, not how fast."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "command",
    [
        ("connections.py", "--count", "150", "--idle-seconds", "0.2"),
        ("bad_neighbours.py", "--good", "2", "--bad", "20", "--seconds", "0.5", "--rounds", "1", "--factor", "1000"),
        ("large_messages.py", "--size", "2000000", "--seconds", "0.5", "--rounds", "1", "--limit-ms", "100000"),
        ("ordered_keys.py", "--keys", "20", "--each", "3", "--kills", "1", "--serial-messages", "3", "--factor", "0"),
        ("backlog.py", "--count", "3000", "--no-bars"),
        ("reloads.py", "--reloads", "10", "--rate", "200", "--pause", "0.05", "--seed", "1"),
        ("tokens.py", "--lifetime", "2", "--seconds", "5", "--rate", "100"),
    ],
    ids=lambda command: command[0],
)
async def test_small_run(command: tuple[str, ...]) -> None:
    program, *arguments = command
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(HERE / program), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    figures = json.loads(stdout)
    if program == "connections.py":
        assert figures["answered"] == figures["asked"] == 300
    elif program == "large_messages.py":
        assert figures["messages_alone"] == figures["messages_beside"] == 50
        assert figures["messages_large"] > 0
    elif program == "ordered_keys.py":
        assert figures["done"] == figures["messages"] == 60
        assert figures["inversions"] == 0
    elif program == "reloads.py":
        assert figures["lost"] == figures["dropped_connections"] == figures["violations"] == 0
        assert figures["messages"] > 0
    elif program == "backlog.py":
        assert figures["depth_after_restart"] == 3000
        assert figures["missing"] == figures["out_of_order"] == figures["under_two_keys"] == 0
    elif program == "tokens.py":
        assert figures["messages"] == figures["acknowledged"] > 0
        assert (figures["lost"], figures["violations"], figures["token_requests_at_once"]) == (0, 0, 1)
    else:
        assert min(figures["messages_alone"], figures["messages_beside"]) > 0


async def test_fuzzing_finds_nothing_in_a_moment() -> None:
    program = HERE.parent / "fuzz" / "fuzz_framing.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), "--seconds", "0.1", stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert b"examples, no fault" in stderr
