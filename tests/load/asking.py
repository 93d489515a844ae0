"""How long a busy agent takes to tell its figures, measured from a process that does nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.admin import call

SECONDS_BETWEEN_LOOKS = 0.5


def ask(state: Path) -> None:
    """Print how long each answer took, in seconds, until killed."""
    while True:
        begin = time.monotonic()
        call(state, "stats")
        print(time.monotonic() - begin, flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)


@contextlib.asynccontextmanager
async def asking(state: Path) -> AsyncIterator[list[float]]:
    """Ask the agent of this folder again and again; afterwards the list holds how long each answer took, in seconds."""
    took: list[float] = []
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, str(state), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        took.append(float(await process.stdout.readline()))
        yield took
    finally:
        process.kill()
        rest, _ = await process.communicate()
        # the last line may be cut short by the end of the process
        took += [float(line) for line in rest.decode().splitlines(keepends=True) if line.endswith("\n")]


if __name__ == "__main__":
    ask(Path(sys.argv[1]))
