"""Commits: what rides on them, what becomes of those that fail, and who hears of it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
import pytest

from medagent.queue import committer as committer_module
from medagent.queue.base import Change, Receipt
from medagent.queue.buffer import MOST_BYTES
from medagent.queue.committer import Committer
from medagent.queue.sqlite.store import SqliteStore
from medagent.tasks import Tasks
from medagent.testing.doubles import UnreliableStore
from medagent.testing.queue import message
from medagent.testing.uplink import Watched
from medagent.types import InboundMessage, State

NEVER = 3600.0


class World(Watched):
    """A committer on a real store, and what it has reported."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.store = UnreliableStore(SqliteStore(path))
        self.tasks = Tasks()
        self.receipts: list[Receipt] = []
        self.refused: list[str] = []
        self.committer = self.with_delay(NEVER)
        self._seq = 0

    def with_delay(self, seconds: float) -> Committer:
        self.committer = Committer(
            self.store, on_receipt=self._receipt, on_refused=self._refusal, change_delay=seconds, tasks=self.tasks
        )
        return self.committer

    def _receipt(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)
        self.change()

    def _refusal(self, refused: InboundMessage) -> None:
        self.refused.append(refused.control_id)
        self.change()

    def messages(self, *control_ids: str) -> list[InboundMessage]:
        made = []
        for control_id in control_ids:
            self._seq += 1
            one = message(control_id)
            one.channel, one.seq, one.callback = "adt", self._seq, f"key-{self._seq}"
            made.append(one)
        return made

    @property
    def committed(self) -> list[str]:
        return [one.control_id for receipt in self.receipts for one in receipt.committed]

    async def counts(self) -> dict[State, int]:
        depths = await self.store.depths()
        return {state: count for state, count in depths["adt"].counts.items() if count}

    def states_asked_for(self) -> list[list[State]]:
        """Of each commit, the changes."""
        return [[change.state for change in changes] for _, changes in self.store.commits]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path / "queue.db")
    await world.store.open()
    yield world
    await world.tasks.cancel()
    await world.store.close()


async def test_changes_ride_with_the_next_commit(world: World) -> None:
    [one] = world.messages("a")
    await world.committer.commit([one])
    world.committer.change(Change(one, State.PROCESSED))
    await world.committer.commit(world.messages("b"))
    assert world.states_asked_for() == [[], [State.PROCESSED]]
    assert await world.counts() == {State.RECEIVED: 1, State.PROCESSED: 1}


async def test_what_the_store_does_afterwards_is_done_when_the_receipt_was_passed_on_and_before_the_next_commit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "queue.db"
    sizes: list[int] = []
    store, tasks = SqliteStore(path), Tasks()
    await store.open()
    committer = Committer(
        store,
        on_receipt=lambda _: sizes.append(path.stat().st_size),
        on_refused=lambda _: None,
        change_delay=NEVER,
        tasks=tasks,
    )
    large = "x" * 4 * MOST_BYTES  # which the store copies from its log into its file after a later commit
    for seq, body in enumerate((large, "", ""), 1):
        one = message(f"m{seq}", body)
        one.channel, one.seq, one.callback = "adt", seq, f"key-{seq}"
        await committer.commit([one])
    await tasks.cancel()
    await store.close()
    assert [size > 4 * MOST_BYTES for size in sizes] == [False, False, True]


async def test_sent_marks_wait_and_an_answer_supersedes_them(world: World) -> None:
    one, two = world.messages("a", "b")
    await world.committer.commit([one, two])
    world.committer.change(Change(one, State.SENT))
    world.committer.change(Change(two, State.SENT))
    await world.committer.commit(world.messages("c"))
    assert world.states_asked_for()[1] == [], "they do not ride: an answer will supersede them soon"
    pending = world.committer.pending(one.seq)
    assert pending is not None
    assert pending.state is State.SENT
    world.committer.change(Change(one, State.PROCESSED))
    world.committer.change(Change(one, State.SENT))  # late news are none
    await world.committer.flush_changes()
    assert world.states_asked_for()[2] == [State.PROCESSED, State.SENT]
    assert await world.counts() == {State.PROCESSED: 1, State.SENT: 1, State.RECEIVED: 1}
    assert world.committer.pending(one.seq) is None


async def test_changes_are_written_soon_without_traffic(world: World) -> None:
    committer = world.with_delay(0.002)
    [one] = world.messages("a")
    await committer.commit([one])
    committer.change(Change(one, State.SENT))
    await world.until(lambda: len(world.receipts) == 2)
    assert await world.counts() == {State.SENT: 1}


async def test_flushing_nothing_commits_nothing(world: World) -> None:
    await world.committer.flush_changes()
    assert world.store.commits == []


async def test_only_the_bad_one_of_a_batch_is_refused(world: World) -> None:
    world.store.refuse = lambda messages, changes: any(one.control_id == "bad" for one in messages)
    [known] = world.messages("known")
    await world.committer.commit([known])
    world.committer.change(Change(known, State.PROCESSED))
    await world.committer.commit(world.messages("a", "bad", "b"))
    assert world.committed == ["known", "a", "b"]
    assert world.refused == ["bad"]
    assert await world.counts() == {State.RECEIVED: 2, State.PROCESSED: 1}


async def test_a_change_that_cannot_be_written_does_not_harm_the_messages_and_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "FAILED_DELAY", 0.002)
    [known] = world.messages("known")
    await world.committer.commit([known])
    broken = True
    world.store.refuse = lambda messages, changes: broken and bool(changes)
    committer = world.committer
    committer.change(Change(known, State.REJECTED, error="no"))
    await committer.commit(world.messages("a"))
    assert world.committed == ["known", "a"]
    assert world.refused == []
    assert await world.counts() == {State.RECEIVED: 2}
    assert committer.unwritten(State.REJECTED)
    broken = False
    await committer.flush_changes()
    assert await world.counts() == {State.RECEIVED: 1, State.REJECTED: 1}
    assert not committer.unwritten(State.REJECTED)


async def test_a_failed_change_does_not_undo_a_newer_one(world: World) -> None:
    [one] = world.messages("a")
    await world.committer.commit([one])
    world.store.gate.clear()
    world.store.refuse = lambda messages, changes: any(change.state is State.RESPONSE_QUEUED for change in changes)
    world.committer.change(Change(one, State.RESPONSE_QUEUED, response="ACK"))
    flush = asyncio.ensure_future(world.committer.flush_changes())
    while len(world.store.commits) < 2:
        await asyncio.sleep(0)
    world.committer.change(Change(one, State.RESPONSE_SENT))
    world.store.gate.set()
    await flush
    await world.committer.flush_changes()
    assert await world.counts() == {State.RESPONSE_SENT: 1}
    [duplicate] = (await world.store.commit(world.messages("a"), [])).duplicates
    assert duplicate.response == "ACK"


async def test_while_changes_fail_they_are_tried_at_a_steady_rate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "FAILED_DELAY", 0.002)
    committer = world.with_delay(0.0)
    known = world.messages(*(f"m{number}" for number in range(20)))
    await committer.commit(known)
    world.store.refuse = lambda messages, changes: True
    for one in known:
        committer.change(Change(one, State.PROCESSED))
    await committer.flush_changes()
    before = len(world.store.commits)
    rounds = 5
    while len(world.store.commits) < before + rounds * 21:
        await asyncio.sleep(0.001)
    world.store.refuse = lambda messages, changes: False
    batches = [changes for _, changes in world.store.commits[before:] if len(changes) == 20]
    assert len(batches) <= rounds + 1, "one flush a round, however many changes wait"
    await committer.flush_changes()
    assert await world.counts() == {State.PROCESSED: 20}


async def test_a_cancelled_caller_does_not_lose_the_receipt(world: World) -> None:
    world.store.gate.clear()
    caller = asyncio.ensure_future(world.committer.commit(world.messages("a")))
    while not world.store.commits:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert world.receipts == []
    world.store.gate.set()
    await world.until(lambda: world.receipts)
    assert world.committed == ["a"]


async def test_commits_are_made_one_after_the_other_in_order(world: World) -> None:
    world.store.gate.clear()
    batches = [world.messages(f"{number}a", f"{number}b") for number in range(5)]
    async with asyncio.TaskGroup() as group:
        for batch in batches:
            group.create_task(world.committer.commit(batch))
        while not world.store.commits:
            await asyncio.sleep(0)
        assert len(world.store.commits) == 1
        world.store.gate.set()
    assert world.committed == [f"{number}{letter}" for number in range(5) for letter in "ab"]
    numbers = [receipt.number for receipt in world.receipts]
    assert numbers == sorted(numbers)


async def test_a_full_disk_refuses_and_recovers(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite's own "database or disk is full", made by its limit of pages: https://sqlite.org/pragma.html#pragma_max_page_count
    connect, opened = aiosqlite.connect, []

    def keep(*arguments: object, **options: object) -> aiosqlite.Connection:
        opened.append(connect(*arguments, **options))  # type: ignore[arg-type]  # passed on as they are
        return opened[-1]

    monkeypatch.setattr(aiosqlite, "connect", keep)
    await world.store.close()
    world.store = UnreliableStore(SqliteStore(tmp_path / "full.db"))
    await world.store.open()
    committer = world.with_delay(NEVER)
    [[pages]] = await opened[-1].execute_fetchall("PRAGMA page_count")
    await opened[-1].execute_fetchall(f"PRAGMA max_page_count = {pages + 4}")
    small, big = world.messages("small", "big")
    big.body = b"x" * 200_000
    await committer.commit([small, big])
    assert world.committed == []
    assert world.refused == ["small", "big"]
    assert world.store.reasons() == ["the disk is full"]
    await opened[-1].execute_fetchall("PRAGMA max_page_count = 1000000")
    await committer.commit(world.messages("big"))
    assert world.committed == ["big"]
    assert await world.counts() == {State.RECEIVED: 1}
    assert world.store.reasons() == ["the disk is full"], "until it has been calm for a while"


async def test_whatever_the_store_raises_is_a_refusal(world: World) -> None:
    class Broken(UnreliableStore):
        async def commit(self, messages: object, changes: object) -> Receipt:
            raise sqlite3.DatabaseError("malformed")

    world.store = Broken(world.store)
    committer = world.with_delay(NEVER)
    await committer.commit(world.messages("a", "b"))
    assert world.refused == ["a", "b"]
    assert world.receipts == []


async def test_what_is_newer_waits_for_a_commit_whose_caller_was_cancelled(world: World) -> None:
    [one] = world.messages("a")
    await world.committer.commit([one])
    world.committer.change(Change(one, State.SENT))
    world.store.gate.clear()
    older = asyncio.ensure_future(world.committer.flush_changes())
    while len(world.store.commits) < 2:
        await asyncio.sleep(0)
    older.cancel()
    await asyncio.wait([older])
    world.committer.change(Change(one, State.PROCESSED))
    newer = asyncio.ensure_future(world.committer.flush_changes())
    for _ in range(5):
        await asyncio.sleep(0)
    assert world.states_asked_for() == [[], [State.SENT]]
    world.store.gate.set()
    await newer
    assert world.states_asked_for() == [[], [State.SENT], [State.PROCESSED]]
    assert await world.counts() == {State.PROCESSED: 1}
