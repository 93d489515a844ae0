"""A store under faults: it takes its time, fails, and tells the ledger what is on disk when a commit has returned."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence

from medagent.errors import StorageFailed
from medagent.queue.base import Change, ChannelDepth, QueueStore, Receipt, Removal, Removed
from medagent.testing.simulation.disk import Disk
from medagent.testing.simulation.loop import Process
from medagent.testing.simulation.world import World
from medagent.types import InboundMessage


class FaultyStore:
    """A `QueueStore` between the agent and a simulated one. Calls wait for each other, in order, as for one thread."""

    def __init__(self, world: World, process: Process, disk: Disk) -> None:
        self._world = world
        self._process = process
        self._disk = disk
        self._store: QueueStore = disk.open_store(world.clock)
        self._turn = asyncio.Lock()
        self.damage = ""

    async def open(self) -> int:
        last_seq = await self._store.open()
        self._world.ledger.started(self._disk.rows())
        self._world.ledger.counted(await self._store.depths())
        return last_seq

    async def _wait(self) -> None:
        random = self._world.random
        seconds = random.choice((0.0, 0.0, 0.001, 0.002))
        if self._world.chance(self._world.faults.slow_disk):
            seconds = random.choice((0.05, 1.0, 8.0)) * random.random()
        if seconds:
            await asyncio.sleep(seconds)

    async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        world = self._world
        async with self._turn:
            await self._wait()
            if not world.effect(self._process):
                await asyncio.Event().wait()
            fails, in_doubt = world.chance(world.faults.commit_fails), world.chance(world.faults.commit_in_doubt)
            if fails or in_doubt:
                self._disk.fail_next_commit(in_doubt=in_doubt)
            try:
                receipt = await self._store.commit(messages, changes)
            except (sqlite3.Error, StorageFailed):
                world.journal.note("commit fails", "in doubt" if in_doubt else "", *_seqs(messages), "changes", len(changes))
                await self._wait()
                raise
            world.journal.note(
                "commit", *_seqs(messages), "changes", *(f"{each.message.seq}:{each.state.name}" for each in changes)
            )
            await self._wait()
            # the moment between the flush and the agent's hearing of it
            if not world.effect(self._process):
                await asyncio.Event().wait()
            touched = list(
                dict.fromkeys([*_seqs(messages), *_seqs(change.message for change in changes)])
                | dict.fromkeys(duplicate.seq for duplicate in receipt.duplicates)
            )
            world.ledger.written(messages, changes, {row.seq: row for row in self._disk.rows(touched)})
            world.ledger.counted(await self._store.depths())
            return receipt

    async def _read(self, what: str) -> None:
        await self._wait()
        if self._world.chance(self._world.faults.read_fails):
            self._world.journal.note("read fails", what)
            raise sqlite3.OperationalError("disk I/O error")

    async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
        async with self._turn:
            await self._read("fetch")
            return await self._store.fetch(channel, after, limit, max_bytes)

    async def fetch_one(self, seq: int) -> InboundMessage | None:
        async with self._turn:
            await self._read("fetch_one")
            return await self._store.fetch_one(seq)

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        async with self._turn:
            return await self._store.retries(channel)

    async def registers(self) -> dict[str, dict[str, int]]:
        return await self._store.registers()

    async def depths(self) -> dict[str, ChannelDepth]:
        async with self._turn:
            return await self._store.depths()

    def given_up(self) -> list[InboundMessage]:
        return self._store.given_up()

    async def maintain(self) -> None:
        async with self._turn:
            await self._store.maintain()

    async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
        # the ledger knows a message by its row
        return Removed(0, None)

    async def used_bytes(self) -> int:
        async with self._turn:
            return await self._store.used_bytes()

    async def give_back(self) -> bool:
        return False

    def reasons(self) -> list[str]:
        return self._store.reasons()

    async def close(self) -> None:
        await self._store.close()


def _seqs(messages: Iterable[InboundMessage]) -> list[int]:
    return [message.seq for message in messages]
