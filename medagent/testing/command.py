"""A `medagent` command as a child process, for tests."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    # the shape of the JSON depends on the command
    @property
    def json(self) -> Any:
        """Standard output as decoded JSON. Raises `ValueError`."""
        return json.loads(self.stdout)


async def start_command(*arguments: str) -> asyncio.subprocess.Process:
    """Start `medagent` with these arguments, its output in pipes."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "medagent", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish_command(process: asyncio.subprocess.Process, timeout: float = 60.0) -> Finished:
    """Wait for its end; it is killed after `timeout` seconds. Raises `TimeoutError`."""
    try:
        async with asyncio.timeout(timeout):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Finished(await process.wait(), stdout.decode(), stderr.decode())


async def run_command(*arguments: str) -> Finished:
    """Run `medagent` with these arguments to its end."""
    return await finish_command(await start_command(*arguments))
