"""A store against a model of the contract that is simple enough to be believed: random calls, the same results."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from medagent.queue.base import Change, QueueStore, Receipt
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.store.ground import PLENTY, STORE, StoreGround, failing, receipt_of, seqs, stored_message
from medagent.types import AcceptanceRules, Duplicates, InboundMessage, State

CHANNELS = {
    "adt": AcceptanceRules(),
    "oru": AcceptanceRules(Duplicates.REJECT, numbered=True),
    "mdm": AcceptanceRules(Duplicates.ACCEPT),
}
REFUSED = (State.REJECTED, State.DEAD_LETTER)
ROUNDS = 4
STEPS = 40


class Model:
    """What a queue holds, in the plainest words."""

    def __init__(self) -> None:
        self.messages: dict[int, InboundMessage] = {}
        self.bodies: dict[int, bytes | None] = {}
        self.states: dict[int, State] = {}
        self.numbers: Counter[str] = Counter()

    def commit(self, messages: list[InboundMessage], changes: list[Change]) -> dict[int, str]:
        """What has to become of each message, by its seq."""
        self.states |= {change.message.seq: change.state for change in changes}
        return {message.seq: self._take(message) for message in messages}

    def _take(self, message: InboundMessage) -> str:
        behavior = message.rules.duplicates
        same = [
            seq
            for seq, one in sorted(self.messages.items())
            if message.control_id and (one.channel, one.control_id) == (message.channel, message.control_id)
        ]
        twins = [seq for seq in same if self.bodies[seq] == message.body]
        if behavior is not Duplicates.ACCEPT and twins and self.states[twins[-1]] not in REFUSED:
            return f"a duplicate of {twins[-1]}, {self.states[twins[-1]].name}"
        if behavior is Duplicates.REJECT and same and not twins:
            return "rejected"
        self.messages[message.seq], self.bodies[message.seq] = message, message.body
        self.states[message.seq] = State.RECEIVED
        number: int | None = None
        if message.rules.numbered:
            number = self.numbers[message.channel]
            self.numbers[message.channel] += 1
        return f"committed, number {number}"

    def reopen(self) -> None:
        moves = {State.SENT: State.RECEIVED, State.RESPONSE_QUEUED: State.RESPONSE_UNDELIVERED}
        self.states = {seq: moves.get(state, state) for seq, state in self.states.items()}
        for seq, message in self.messages.items():
            message.stored_state = self.states[seq]

    def received(self, channel: str) -> list[int]:
        return [seq for seq in sorted(self.messages) if self.messages[seq].channel == channel and not self.states[seq]]

    def counts(self) -> dict[tuple[str, State], int]:
        return dict(Counter((self.messages[seq].channel, state) for seq, state in self.states.items()))


def outcomes(receipt: Receipt) -> dict[int, str]:
    """What a receipt says of each message, as `Model.commit` does."""
    return {
        **{one.seq: f"committed, number {one.number}" for one in receipt.committed},
        **{one.message.seq: f"a duplicate of {one.seq}, {one.state.name}" for one in receipt.duplicates},
        **{one.seq: "rejected" for one in receipt.rejected},
    }


class AtRandom(StoreGround):
    """A part of `QueueStoreContract`."""

    @promise(STORE)
    async def test_at_random_it_does_what_the_contract_says(self, tmp_path: Path) -> None:
        """Whatever is committed, changed, failed and reopened in whatever order: receipts and contents are the contract's."""
        for seed in range(ROUNDS):
            rng, model, folder = random.Random(seed), Model(), tmp_path / str(seed)  # noqa: S311  no secret is made of it
            store = self.make(folder)
            last = await self.within(store.open(), "open() has not returned")
            try:
                for step in range(STEPS):
                    where = f"(seed {seed}, step {step})"
                    last = await self._step(rng, model, store, last, where)
                    if rng.random() < 0.1:
                        await store.close()
                        store = self.make(folder)
                        newest = await self.within(store.open(), f"open() has not returned {where}")
                        highest = max(model.messages, default=0)
                        expect(newest == highest, f"open() returned {newest}, and the highest seq is {highest} {where}")
                        model.reopen()
                    await self._compare(model, store, where)
            finally:
                await self.within(store.close(), "close() has not returned")

    async def _step(self, rng: random.Random, model: Model, store: QueueStore, last: int, where: str) -> int:
        """One commit; returns the highest seq that was given."""
        messages = []
        for _ in range(rng.randrange(5)):
            last += 1
            channel = rng.choice(sorted(CHANNELS))
            message = stored_message(last, rng.choice(["", "a", "b", "c"]), rng.choice([b"x", b"y"]), rules=CHANNELS[channel])
            message.channel = channel
            messages.append(message)
        live = [seq for seq, state in model.states.items() if not state.ended]
        changes = [
            Change(model.messages[seq], rng.choice(list(State)), response="ACK", next_attempt_at=float(seq))
            for seq in rng.sample(live, min(len(live), rng.randrange(3)))
        ]
        if rng.random() < 0.15:
            commit = receipt_of(store.commit([*messages, failing(stored_message(last + 1))], changes))
            receipt = await self.within(commit, f"commit() has not returned {where}")
            expect(receipt is None, f"an admission raised within the transaction, and commit() returned a receipt {where}")
            return last + 1
        receipt = await self.within(store.commit(messages, changes), f"commit() has not returned {where}")
        wanted, found = model.commit(messages, changes), outcomes(receipt)
        expect(found == wanted, f"the receipt says {found}, and it should say {wanted} {where}")
        expect(seqs(receipt.committed) == sorted(seqs(receipt.committed)), f"the receipt is out of order {where}")
        return last

    async def _compare(self, model: Model, store: QueueStore, where: str) -> None:
        counted = {
            (channel, state): count
            for channel, depth in (await store.depths()).items()
            for state, count in depth.counts.items()
            if count
        }
        expect(counted == model.counts(), f"depths() counts {counted}, and there are {model.counts()} {where}")
        for channel in CHANNELS:
            found = await store.fetch(channel, 0, 1_000_000, PLENTY)
            wanted = model.received(channel)
            expect(seqs(found) == wanted, f"fetch() of {channel} finds seq {seqs(found)}, not {wanted} {where}")
            changed = [one.seq for one in found if one.body != model.bodies[one.seq]]
            expect(not changed, f"bodies of {channel} have changed: seq {changed} {where}")
            retries = [seq for seq, _ in await store.retries(channel)]
            failed = [
                seq
                for seq, state in sorted(model.states.items())
                if state is State.ERROR and model.messages[seq].channel == channel
            ]
            expect(retries == failed, f"retries() of {channel} lists seq {retries}, not {failed} {where}")
