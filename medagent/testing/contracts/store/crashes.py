"""What a store keeps when things go wrong: failed and cancelled commits, calls that overlap, a kill."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

from medagent.queue.base import Change, Receipt
from medagent.testing.contracts.killed import killed_child
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.store.ground import (
    BEGUN,
    STORE,
    StoreGround,
    counts,
    failing,
    plainly,
    receipt_of,
    seqs,
    stored_message,
)
from medagent.types import AcceptanceRules, State

RECEIPTS = 60
"""After so many the child is killed."""


class Crashes(StoreGround):
    """A part of `QueueStoreContract`."""

    @promise(f"{STORE}.commit")
    async def test_a_failed_commit_leaves_no_trace(self, tmp_path: Path) -> None:
        """A commit that fails raises and writes nothing: no message, no change, no register, no number."""
        numbered = AcceptanceRules(numbered=True)
        async with self._opened(tmp_path) as store:
            first, other = stored_message(1, rules=numbered), stored_message(2)
            before = await store.commit([first, other], [])
            lost = [stored_message(3, rules=numbered), failing(stored_message(4))]
            lost[0].registers = (("one", 5),)
            changes = [Change(first, State.PROCESSED), Change(other, State.ERROR, next_attempt_at=BEGUN)]
            receipt = await self.within(receipt_of(store.commit(lost, changes)), "commit() has not returned")
            expect(receipt is None, "an admission raised within the transaction, and commit() returned a receipt")
            expect((first.stored_state, lost[0].stored_state) == (State.RECEIVED, None), "stored_state of a message has moved")
        async with self._opened(tmp_path) as store:
            counted = await counts(store)
            expect(counted == {State.RECEIVED: 2}, f"the queue holds {plainly(counted)}; before there were 2 received")
            expect(seqs(await self._all(store)) == [1, 2], f"fetch() finds seq {seqs(await self._all(store))}, not 1 and 2")
            expect("one" not in (await store.registers()).get("adt", {}), "a register of the failed commit is on disk")
            after = await store.commit([stored_message(3, rules=numbered)], [])
            numbers = [one.number for one in after.committed]
            expect(numbers == [1], f"the next number is {numbers}, and 0 was the last that was stored")
            expect(before.committed[0].number == 0, f"the first number is {before.committed[0].number}")

    @promise(f"{STORE}.commit")
    async def test_after_a_failed_commit_the_next_one_works(self, tmp_path: Path) -> None:
        """A failed commit does not spoil the store: the next commit of the same messages works."""
        async with self._opened(tmp_path) as store:
            bad = failing(stored_message(2))
            await self.within(receipt_of(store.commit([stored_message(1), bad], [])), "commit() has not returned")
            bad.admission = None
            receipt = await self.within(store.commit([stored_message(1), bad], []), "the next commit has not returned")
            expect(seqs(receipt.committed) == [1, 2], f"of the next commit were committed: seq {seqs(receipt.committed)}")

    @promise(f"{STORE}.commit")
    async def test_a_cancelled_commit_is_all_or_nothing(self, tmp_path: Path) -> None:
        """A commit whose caller is cancelled is written as a whole or not at all, and the next one works."""
        async with self._opened(tmp_path) as store:
            for number in range(5):
                begin = 10 * number + 1
                task = asyncio.ensure_future(store.commit([stored_message(seq) for seq in range(begin, begin + 5)], []))
                for _ in range(number):
                    await asyncio.sleep(0)
                task.cancel()
                await self.within(asyncio.wait([task]), "the cancelled commit has not ended")
                receipt = await self.within(store.commit([stored_message(begin + 5)], []), "the next commit has not returned")
                expect(seqs(receipt.committed) == [begin + 5], "the next commit has not stored its message")
                found = [seq for seq in seqs(await self._all(store)) if begin <= seq < begin + 5]
                expect(len(found) in (0, 5), f"of the 5 messages of a cancelled commit {len(found)} are stored")

    @promise(STORE)
    async def test_calls_that_overlap_take_effect_in_order(self, tmp_path: Path) -> None:
        """Calls may overlap, and take effect in the order in which they were made."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq) for seq in range(1, 21)]
            receipts: list[Receipt] = []
            for start in (0, 10):
                commits = [asyncio.ensure_future(store.commit([one], [])) for one in batch[start : start + 10]]
                page = asyncio.ensure_future(self._all(store))
                changed = asyncio.ensure_future(store.commit([], [Change(batch[start], State.PROCESSED)]))
                receipts += await self.within(asyncio.gather(*commits), "commits that overlap have not returned")
                found = seqs(await page)
                wanted = [seq for seq in range(1, start + 11) if seq != 1 or start == 0]
                expect(found == wanted, f"fetch() after {start + 10} commits found seq {found}")
                await self.within(changed, "a commit of changes has not returned")
            numbers = [receipt.number for receipt in receipts]
            expect(numbers == sorted(numbers), f"the receipts of commits made in this order have numbers {numbers}")
            expect([seq for receipt in receipts for seq in seqs(receipt.committed)] == seqs(batch), "a receipt is of another")

    @promise(f"{STORE}.close")
    async def test_a_closed_store_gives_no_receipt(self, tmp_path: Path) -> None:
        """After `close` a commit raises; closing again does no harm."""
        store = self.make(tmp_path)
        await store.open()
        await store.close()
        await self.within(store.close(), "the second close() has not returned")
        commit = receipt_of(store.commit([stored_message(1)], []))
        receipt = await self.within(commit, "commit() after close() has not returned")
        expect(receipt is None, "commit() after close() returned a receipt")

    @promise(f"{STORE}.damage")
    async def test_a_closed_store_can_be_opened_again(self, tmp_path: Path) -> None:
        """A store that was closed can be opened again, which is what the core does with one that says it is damaged."""
        async with self._opened(tmp_path) as store:
            await store.commit([stored_message(1)], [])
            await self.within(store.close(), "close() has not returned")
            newest = await self.within(store.open(), "the second open() has not returned")
            expect(newest == 1, f"the second open() returned {newest}, and seq 1 is stored")
            receipt = await self.within(store.commit([stored_message(2)], []), "commit() has not returned")
            expect(seqs(receipt.committed) == [2], "opened again, it stores nothing")
            expect(seqs(await self._all(store)) == [1, 2], "opened again, it does not hold what was committed")

    @promise(f"{STORE}.commit")
    async def test_killed_while_committing_it_has_lost_nothing_it_gave_a_receipt_for(self, tmp_path: Path) -> None:
        """After a kill (SIGKILL) all that a receipt named is there, in order, none twice, and no commit in halves."""
        told = [[int(seq) for seq in line.split()] for line in await killed_child(self, "store", tmp_path, RECEIPTS)]
        named = [seq for receipt in told for seq in receipt]
        store = self.make(tmp_path)
        newest = await self.within(store.open(), "open() after the kill has not returned")
        try:
            found = await self._all(store)
        finally:
            await store.close()
        stored = seqs(found)
        lost = sorted(set(named) - set(stored))
        expect(not lost, f"{len(lost)} of {len(named)} messages of receipts are not in the queue: seq {lost[:10]}")
        expect(stored == sorted(set(stored)), "after the kill fetch() gives messages out of order or twice")
        expect(newest >= max(stored), f"open() returned {newest}, and seq {max(stored)} is stored")
        changed = [one.seq for one in found if one.body != stored_message(one.seq).body]
        expect(not changed, f"bodies have changed: seq {changed[:10]}")
        halves = [receipt for receipt in told if len(set(receipt) & set(stored)) not in (0, len(receipt))]
        expect(not halves, f"commits are stored in halves: {halves[:3]}")

    @promise("docs/queue-file.md")
    async def test_its_files_are_private(self, tmp_path: Path) -> None:
        """Files that it makes are for their owner only: 0600, and folders 0700."""
        folder = tmp_path / "state"
        async with self._opened(folder) as store:
            await store.commit([stored_message(1)], [])
            for path in [folder, *folder.rglob("*")] if folder.exists() else []:
                mode, wanted = stat.S_IMODE(path.stat().st_mode), 0o700 if path.is_dir() else 0o600
                expect(mode == wanted, f"{path.name} has mode {mode:o}, not {wanted:o}")
