"""All faulty plugins at once, installed from wheels in an own environment: each is told of, and good devices are answered."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("plugin_faults.py")


@pytest.mark.timeout(400)
async def test_every_fault_is_told_and_harms_no_other_channel() -> None:
    arguments = ("--together", "--seconds", "2", "--devices", "3")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stdout.decode() + stderr.decode()
    figures = json.loads(stdout)
    assert figures["faults"] > 25
    assert figures["answered"] > 0
    assert figures["silent"] == []
