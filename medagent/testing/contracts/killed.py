"""A child process that makes what a contract's class makes, works until it is killed, and says all it was promised."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from pathlib import Path

from medagent.testing.contracts.promise import Broken, Contract

STARTING = 30.0
"""What a child may take to import what it needs and to open its queue, seconds."""


async def killed_child(contract: Contract, kind: str, folder: Path, lines: int) -> list[str]:
    """Kill (SIGKILL) a child as soon as it has printed so many lines; returns all that it printed.

    `kind`: `strategy` or `store`, see `medagent.testing.contracts.child`. Raises `Broken` if it does not come so far.
    """
    made_by = type(contract)
    if "<locals>" in made_by.__qualname__:
        raise Broken(f"{made_by.__qualname__} is inside a function: a child process must find it at the top of its module")
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "medagent.testing.contracts.child", kind),
        *(inspect.getfile(made_by), made_by.__module__, made_by.__qualname__, str(folder)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None  # noqa: S101  for the type checker
    assert child.stderr is not None  # noqa: S101  as above
    errors = asyncio.ensure_future(child.stderr.read())
    told: list[str] = []
    try:
        async with asyncio.timeout(STARTING):
            ready = await child.stdout.readline()
        async with asyncio.timeout(contract.patience if ready else STARTING):
            while len(told) < lines and (line := await child.stdout.readline()):
                told.append(line.decode().rstrip("\n"))
    except TimeoutError:
        pass
    finally:
        if child.returncode is None:
            child.kill()
        rest = await child.stdout.read()
        await child.wait()
        text = (await errors).decode(errors="replace")
    if len(told) < lines:
        raise Broken(f"the child printed {len(told)} of {lines} lines; its standard error:\n{text[-2000:]}")
    # the last line may be cut off by the kill: it then says nothing
    whole = rest[: rest.rfind(b"\n") + 1].decode()
    return told + whole.splitlines()
