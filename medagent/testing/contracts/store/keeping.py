"""What a store keeps: messages as they were, their order, their states, and what is left of them after reopening."""

from __future__ import annotations

import math
import time
from pathlib import Path

from medagent.queue.base import Change, Removal
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.store.ground import BEGUN, PLENTY, STORE, StoreGround, counts, plainly, seqs, stored_message
from medagent.types import AcceptanceRules, State

HOUR = 3600.0
LONG = 5_000_000
"""Bytes of a long body."""


class Keeping(StoreGround):
    """A part of `QueueStoreContract`."""

    @promise(f"{STORE}.open")
    async def test_a_new_queue_is_empty(self, tmp_path: Path) -> None:
        """`open` makes a queue where there is none, and returns 0: no `seq` has been used."""
        folder = tmp_path / "new"
        store = self.make(folder)
        newest = await self.within(store.open(), "open() has not returned")
        try:
            expect(newest == 0, f"open() returned {newest!r}")
            expect(await self._all(store) == [], "fetch() found messages")
            expect(await store.depths() == {}, "depths() found channels")
            expect(await store.registers() == {}, "registers() found some")
            expect(await store.retries("adt") == [], "retries() found some")
            expect(await store.fetch_one(1) is None, "fetch_one(1) found a message")
        finally:
            await self.within(store.close(), "close() has not returned")

    @promise(f"{STORE}.fetch")
    async def test_a_message_comes_back_as_it_was(self, tmp_path: Path) -> None:
        """A message comes back with every field that the queue needs, also after reopening; its `origin` is gone."""
        given = stored_message(7)
        given.origin, given.remote, given.link = object(), "10.0.0.9:1", "c9"
        given.accepted_at = BEGUN + 0.25
        async with self._opened(tmp_path) as store:
            await store.commit([given], [])
        async with self._opened(tmp_path) as store:
            found = await self._all(store)
            expect(len(found) == 1, f"fetch() found {len(found)} messages")
            for way, one in (("fetch", found[0]), ("fetch_one", await store.fetch_one(7))):
                expect(one is not None, f"{way}() found nothing")
                for name in ("body", "control_id", "remote", "link", "channel", "seq", "callback", "accepted_at", "attempts"):
                    stored, wanted = getattr(one, name), getattr(given, name)
                    expect(stored == wanted, f"{way}() has {name} {stored!r} where {wanted!r} was given")
                state = getattr(one, "stored_state", None)
                expect(state is State.RECEIVED, f"{way}() has stored_state {state!r}")
                expect(getattr(one, "origin", None) is None, f"{way}() has an origin")

    @promise(f"{STORE}.fetch")
    async def test_bodies_are_kept_byte_for_byte(self, tmp_path: Path) -> None:
        """Bodies come back byte for byte: every value of a byte, none at all, and 5 MB."""
        every = bytes(range(256))
        bodies = {1: every * 3, 2: b"", 3: b"\x00", 4: b"\r\n\r\n", 5: every * (LONG // 256)}
        async with self._opened(tmp_path) as store:
            await store.commit([stored_message(seq, body=body) for seq, body in bodies.items()], [])
        async with self._opened(tmp_path) as store:
            found = {one.seq: one.body for one in await self._all(store)}
            for seq, body in bodies.items():
                expect(seq in found, f"the message with a body of {len(body)} bytes is missing")
                expect(found[seq] == body, f"a body of {len(body)} bytes came back changed")

    @promise(f"{STORE}.fetch")
    async def test_pages_are_in_order_and_keep_their_limits(self, tmp_path: Path) -> None:
        """`fetch` gives the messages above `after` in order of `seq`, within `limit` and about `max_bytes`, at least one."""
        async with self._opened(tmp_path) as store:
            await store.commit([stored_message(seq, body=b"x" * 100) for seq in range(1, 11)], [])
            other = stored_message(11)
            other.channel = "oru"
            await store.commit([other], [])
            for channel, after, limit, max_bytes, least, most in (
                ("adt", 0, 100, PLENTY, 10, 10),
                ("adt", 0, 3, PLENTY, 3, 3),
                ("adt", 3, 3, PLENTY, 3, 3),
                ("adt", 0, 100, 450, 4, 6),
                ("adt", 0, 100, 1, 1, 1),
                ("adt", 10, 100, PLENTY, 0, 0),
                ("oru", 0, 100, PLENTY, 1, 1),
                ("mdm", 0, 100, PLENTY, 0, 0),
            ):
                found = seqs(await store.fetch(channel, after, limit, max_bytes))
                call = f"fetch({channel!r}, {after}, {limit}, {max_bytes})"
                begin = 11 if channel == "oru" else after + 1
                expect(found == list(range(begin, begin + len(found))), f"{call} found seq {found}")
                expect(least <= len(found) <= most, f"{call} found {len(found)} messages of 100 bytes, not {least} to {most}")

    @promise(f"{STORE}.fetch")
    async def test_only_received_messages_are_in_a_page(self, tmp_path: Path) -> None:
        """`fetch` gives only messages in state `received`; `fetch_one` gives live ones in any state, and no others."""
        async with self._opened(tmp_path) as store:
            given = {state: stored_message(seq) for seq, state in enumerate(State, 1)}
            await store.commit(list(given.values()), [])
            changes = [
                Change(one, state, next_attempt_at=BEGUN if state is State.ERROR else None)
                for state, one in given.items()
                if state is not State.RECEIVED
            ]
            await store.commit([], changes)
            found = seqs(await self._all(store))
            expect(found == [given[State.RECEIVED].seq], f"fetch() found seq {found}")
            for state, one in given.items():
                alone = await store.fetch_one(one.seq)
                expect((alone is None) == state.ended, f"fetch_one() of a message that is {state.name.lower()}: {alone!r}")
                expect(alone is None or alone.stored_state is state, f"fetch_one() says {alone and alone.stored_state!r}")

    @promise(f"{STORE}.depths")
    async def test_depths_say_what_there_is(self, tmp_path: Path) -> None:
        """`depths` counts each channel's messages by state, with the bytes and the oldest of the live ones."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq, body=b"x" * (100 * seq)) for seq in (1, 2, 3)]
            await store.commit(batch, [])
            await store.commit([], [Change(batch[0], State.REJECTED), Change(batch[1], State.ERROR, next_attempt_at=BEGUN)])
        async with self._opened(tmp_path) as store:
            depth = (await store.depths())["adt"]
            counted = await counts(store)
            expect(counted == {State.REJECTED: 1, State.ERROR: 1, State.RECEIVED: 1}, f"depths() counts {plainly(counted)}")
            expect(depth.live_bytes == 500, f"live_bytes is {depth.live_bytes}, and the live bodies have 500")
            expect(depth.oldest_accepted_at == BEGUN + 2, f"oldest_accepted_at is {depth.oldest_accepted_at}, not of seq 2")
            ended = [one for one in (await store.fetch_one(2), await store.fetch_one(3)) if one is not None]
            await store.commit([], [Change(one, State.DEAD_LETTER) for one in ended])
            depth = (await store.depths())["adt"]
            expect((depth.live_bytes, depth.oldest_accepted_at) == (0, None), f"with no live message it is {depth}")

    @promise(f"{STORE}.retries")
    async def test_retries_are_listed_with_their_time(self, tmp_path: Path) -> None:
        """`retries` lists the channel's messages in state `error`, in order, with the time of their next attempt."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq) for seq in (1, 2, 3)]
            await store.commit(batch, [])
            for one in batch:
                one.attempts = one.seq
            await store.commit(
                [], [Change(one, State.ERROR, next_attempt_at=BEGUN - one.seq, status_code=503) for one in batch[:2]]
            )
        async with self._opened(tmp_path) as store:
            found = await store.retries("adt")
            expect(found == [(1, BEGUN - 1), (2, BEGUN - 2)], f"retries() is {found}")
            failed = await store.fetch_one(2)
            attempts = failed and failed.attempts
            expect(attempts == 2, f"attempts is {attempts}, not the 2 of the change")
            expect(await store.retries("oru") == [], "another channel has retries")

    @promise(f"{STORE}.open")
    async def test_reopened_nothing_is_on_its_way(self, tmp_path: Path) -> None:
        """`open` makes `sent` messages `received` again, and `response_queued` ones `response_undelivered`; the rest stays."""
        async with self._opened(tmp_path) as store:
            given = {state: stored_message(seq) for seq, state in enumerate(State, 1)}
            await store.commit(list(given.values()), [])
            changes = [
                Change(one, state, response="ACK" if state is State.RESPONSE_QUEUED else None, next_attempt_at=BEGUN)
                for state, one in given.items()
                if state is not State.RECEIVED
            ]
            await store.commit([], changes)
        async with self._opened(tmp_path) as store:
            moved = {State.SENT: State.RECEIVED, State.RESPONSE_QUEUED: State.RESPONSE_UNDELIVERED}
            wanted = {state: 1 for state in State if state not in moved}
            for state in moved.values():
                wanted[state] += 1
            counted = await counts(store)
            expect(counted == wanted, f"there are {plainly(counted)}; there should be {plainly(wanted)}")
            found, received = seqs(await self._all(store)), sorted(given[state].seq for state in (State.RECEIVED, State.SENT))
            expect(found == received, f"fetch() found seq {found}, not {received}")
            name = f"m{given[State.RESPONSE_QUEUED].seq}"
            receipt = await store.commit([stored_message(100, name)], [])
            answers = [duplicate.response for duplicate in receipt.duplicates]
            expect(answers == ["ACK"], f"a resend of the answered message finds {answers}, not its answer")

    @promise(f"{STORE}.open")
    async def test_reopened_it_knows_the_highest_seq(self, tmp_path: Path) -> None:
        """`open` returns the highest `seq` ever used, whatever has ended or been deleted since."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq) for seq in (3, 4, 90)]
            await store.commit(batch, [])
            await store.commit([], [Change(one, State.PROCESSED) for one in batch])
            await store.remove_ended(Removal(math.inf, math.inf, PLENTY), 0, 100)
        store = self.make(tmp_path)
        newest = await store.open()
        await store.close()
        expect(newest == 90, f"open() returned {newest}, and 90 was the highest")

    @promise(f"{STORE}.remove_ended")
    async def test_only_old_ended_messages_are_deleted(self, tmp_path: Path) -> None:
        """`remove_ended` deletes messages that ended before the times it is given, and neither live ones nor the newest."""
        async with self._opened(tmp_path) as store:
            states = (State.PROCESSED, State.REJECTED, State.RECEIVED, State.ERROR, State.RESPONSE_SENT, State.PROCESSED)
            batch = [stored_message(seq) for seq in range(1, 7)]
            await store.commit(batch, [])
            changes = [Change(one, state, next_attempt_at=BEGUN) for one, state in zip(batch, states, strict=True)]
            await store.commit([], [change for change in changes if change.state is not State.RECEIVED])
            past, future = time.time() - HOUR, time.time() + HOUR
            for ended_before, errored_before, count, left in ((past, past, 0, 6), (future, past, 2, 4), (future, future, 1, 3)):
                removed = await store.remove_ended(Removal(ended_before, errored_before, PLENTY), 0, 100)
                expect(removed.count == count, f"it deleted {removed.count} where {count} were to be deleted")
                kept = sum((await counts(store)).values())
                expect(kept == left, f"{kept} messages are left where {left} were to be left")
                expect(removed.seen_up_to is None, f"seen_up_to is {removed.seen_up_to}, and it has seen all")
            depth = (await store.depths())["adt"]
            expect(depth.removed == 3, f"depths() says that {depth.removed} were removed, and 3 were")
            expect(seqs(await self._all(store)) == [3], "a live message is gone")

    @promise(f"{STORE}.registers")
    async def test_numbers_and_registers_outlive_their_messages(self, tmp_path: Path) -> None:
        """When messages are deleted, their registers and numbers stay: the next message gets the next number."""
        numbered = AcceptanceRules(numbered=True)
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq, rules=numbered) for seq in (1, 2, 3)]
            batch[0].registers = (("one", 5),)
            await store.commit(batch, [])
            await store.commit([], [Change(one, State.PROCESSED) for one in batch])
            await store.remove_ended(Removal(math.inf, math.inf, PLENTY), 0, 100)
        async with self._opened(tmp_path) as store:
            after = (await store.registers()).get("adt", {})
            expect(after.get("one") == 5, f"after its message was deleted, a register of 5 is {after.get('one')}")
            numbers = [one.number for one in (await store.commit([stored_message(4, rules=numbered)], [])).committed]
            expect(numbers == [3], f"the next number is {numbers}, and 2 was the last")

    @promise(f"{STORE}.remove_ended")
    async def test_deleting_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        """`remove_ended` looks at no more than `limit` messages above `after`, and says where the next call goes on."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq) for seq in range(1, 12)]
            await store.commit(batch, [])
            await store.commit([], [Change(one, State.PROCESSED) for one in batch])
            everything, position, deleted, calls = Removal(math.inf, math.inf, PLENTY), 0, 0, 0
            while calls < 100:
                removed = await store.remove_ended(everything, position, 3)
                expect(removed.count <= 3, f"with a limit of 3 it deleted {removed.count}")
                deleted, calls = deleted + removed.count, calls + 1
                if removed.seen_up_to is None:
                    break
                expect(removed.seen_up_to > position, f"seen_up_to is {removed.seen_up_to} after {position}: no way forward")
                position = removed.seen_up_to
            expect(deleted == 10, f"in {calls} calls it deleted {deleted} of 10, the newest left out")
            for _ in range(1000):
                if not await store.give_back():
                    return
            expect(kept=False, happened="give_back() returned True a thousand times")

    @promise(f"{STORE}.maintain")
    async def test_a_healthy_queue_says_so(self, tmp_path: Path) -> None:
        """In use, `reasons`, `damage` and `given_up` are empty, `used_bytes` is a number, and `maintain` does not raise."""
        async with self._opened(tmp_path) as store:
            await store.commit([stored_message(seq) for seq in range(1, 10)], [])
            await self.within(store.maintain(), "maintain() has not returned")
            expect(store.reasons() == [], f"reasons() is {store.reasons()}")
            expect(store.damage == "", f"damage is {store.damage!r}")
            expect(store.given_up() == [], "given_up() has messages")
            expect(await store.used_bytes() >= 0, "used_bytes() is negative")
