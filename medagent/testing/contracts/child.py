"""The child of `killed_child`: `python -m medagent.testing.contracts.child strategy|store FILE MODULE CLASS FOLDER`."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
import sys
from pathlib import Path
from typing import Any

from medagent.config.model import BatchConfig
from medagent.testing.contracts.store import QueueStoreContract, stored_message
from medagent.testing.contracts.strategy import QueueStrategyContract
from medagent.testing.contracts.strategy.world import StrategyWorld
from medagent.types import InboundMessage

AT_A_TIME = 500
"""Messages that are not acknowledged yet."""


def load(file: str, module: str, qualified_name: str) -> Any:  # the class of a test, of any kind
    """The class in a test's file."""
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python module")
    found: Any = importlib.util.module_from_spec(spec)
    sys.modules[module] = found
    spec.loader.exec_module(found)
    for name in qualified_name.split("."):
        found = getattr(found, name)
    return found


def say(lines: list[str]) -> None:
    """In one write, so that a kill leaves no half of it behind."""
    os.write(sys.stdout.fileno(), "".join(f"{line}\n" for line in lines).encode())


async def strategy(contract: QueueStrategyContract, folder: Path) -> None:
    """Put messages for ever; prints the control ID of each as it is acknowledged."""
    world = StrategyWorld(folder, contract.make_configured, BatchConfig(flush_interval_ms=2), contract.raised)
    acknowledge = world.queue.channel.committed

    def committed(messages: list[InboundMessage]) -> None:
        acknowledge(messages)
        say([one.control_id for one in messages])

    world.queue.channel.committed = committed  # type: ignore[method-assign, assignment]  # the lists of the core
    async with world.queue:
        say(["ready"])
        numbers = itertools.count()
        for burst in itertools.cycle((1, 7, 3, 20)):
            world.accept(*(f"m{next(numbers)}" for _ in range(burst)))
            await asyncio.sleep(0)
            await world.queue.channel.until(lambda: world.queue.intake.buffered <= AT_A_TIME)


async def store(contract: QueueStoreContract, folder: Path) -> None:
    """Commit for ever, two commits overlapping; prints the seqs of each receipt."""
    made = contract.make(folder)
    seqs = itertools.count(await made.open() + 1)
    say(["ready"])

    async def commit(count: int) -> None:
        batch = [stored_message(next(seqs)) for _ in range(count)]
        receipt = await made.commit(batch, [])
        say([" ".join(str(one.seq) for one in receipt.committed)])

    for size in itertools.cycle((1, 5, 2, 17)):
        await asyncio.gather(commit(size), commit(size + 1))


def main() -> None:
    kind, file, module, qualified_name, folder = sys.argv[1:]
    contract = load(file, module, qualified_name)()
    asyncio.run((strategy if kind == "strategy" else store)(contract, Path(folder)))


if __name__ == "__main__":
    main()
