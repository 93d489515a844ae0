"""How a store takes messages: receipts, resends, used control IDs, numbers, registers, admissions and parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medagent.queue.base import Change, QueueStore
from medagent.testing.contracts.promise import expect, promise
from medagent.testing.contracts.store.ground import BEGUN, STORE, StoreGround, outcome, seqs, stored_message
from medagent.types import AcceptanceRules, Decision, Duplicates, InboundMessage, Refusal, RefusalKind, State

RECEIPT = "medagent.queue.base.Receipt"
RULES = "medagent.types.AcceptanceRules"
ADMISSION = "medagent.types.Admission"
REJECT = AcceptanceRules(Duplicates.REJECT)
ACCEPT = AcceptanceRules(Duplicates.ACCEPT)
NUMBERED = AcceptanceRules(numbered=True)
OUT_OF_TURN = Refusal(RefusalKind.SEQUENCE, "not that one")


class Turnstile:
    """Admits messages whose control ID ends in the number that is expected; another one is noted, and refused."""

    def __init__(self) -> None:
        self.twins: list[State | None] = []

    def __call__(self, message: InboundMessage, registers: Mapping[str, int], twin: State | None) -> Decision:
        self.twins.append(twin)
        expected, number = registers.get("expected", 1), int(message.control_id[1:])
        if twin is not None:
            return Decision()
        if number != expected:
            return Decision((("stopped", number),), OUT_OF_TURN)
        return Decision((("expected", number + 1),))

    def on(self, message: InboundMessage, *, whole: int = 0) -> InboundMessage:
        message.admission, message.whole = self, whole
        return message


class Taking(StoreGround):
    """A part of `QueueStoreContract`."""

    @promise(RECEIPT)
    async def test_a_receipt_names_what_was_committed(self, tmp_path: Path) -> None:
        """A receipt names the committed messages in their order, and has a higher number than the one before it."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq) for seq in range(1, 101)]
            first = await store.commit(batch, [])
            expect(seqs(first.committed) == seqs(batch), f"it names {len(first.committed)} of 100 messages, or not in order")
            expect(all(a is b for a, b in zip(first.committed, batch, strict=True)), "it names other objects than it was given")
            states = {one.stored_state for one in batch}
            expect(states == {State.RECEIVED}, f"the committed messages have stored_state {states}")
            second = await store.commit([stored_message(101)], [])
            expect(second.number > first.number, f"number {second.number} came after number {first.number}")
            expect(outcome(second) == "committed", f"a new message was {outcome(second)}")

    async def _sent(self, store: QueueStore, seq: int, name: str, body: bytes, rules: AcceptanceRules, at: float = 0) -> str:
        one = stored_message(seq, name, body, rules=rules)
        one.accepted_at = BEGUN + at
        return outcome(await store.commit([one], []))

    @promise(f"{RULES}.duplicates")
    async def test_a_used_control_id_is_treated_by_the_rules(self, tmp_path: Path) -> None:
        """The same bytes under the same control ID are a duplicate; other bytes are stored, or rejected with `REJECT`."""
        async with self._opened(tmp_path) as store:
            seq = 0
            for rules, same, other in (
                (AcceptanceRules(), "duplicate", "committed"),
                (REJECT, "duplicate", "rejected"),
                (ACCEPT, "committed", "committed"),
            ):
                name = rules.duplicates.value
                for body, wanted in ((b"one", "committed"), (b"one", same), (b"two", other)):
                    seq += 1
                    was = await self._sent(store, seq, name, body, rules)
                    expect(was == wanted, f"with {name}, body {body!r} under a used control ID was {was}, not {wanted}")

    @promise("medagent.types.InboundMessage.sender")
    async def test_each_sender_has_its_own_control_ids(self, tmp_path: Path) -> None:
        """With `REJECT` a control ID is used only for the `sender` that has used it, also after reopening."""
        sent = [(1, b"x"), ((1 << 63) - 1, b"y"), (1, b"y2"), (2, b"z"), ((1 << 63) - 1, b"y"), (2, b"z2")]
        wanted = ["committed", "committed", "rejected", "committed", "duplicate", "rejected"]
        for seq, ((sender, body), expected) in enumerate(zip(sent, wanted, strict=True), 1):
            async with self._opened(tmp_path) as store:
                one = stored_message(seq, "a", body, rules=REJECT)
                one.sender = sender
                was = outcome(await store.commit([one], []))
                expect(was == expected, f"message {seq} under one control ID, from sender {sender}, was {was}, not {expected}")

    @promise("medagent.types.InboundMessage.control_id")
    async def test_without_a_control_id_nothing_is_a_duplicate(self, tmp_path: Path) -> None:
        """A message whose control ID is empty is never taken for a resend."""
        async with self._opened(tmp_path) as store:
            for seq, rules in enumerate((AcceptanceRules(), AcceptanceRules(), REJECT, REJECT), 1):
                was = await self._sent(store, seq, "", b"same", rules)
                expect(was == "committed", f"it was {was}")

    @promise("medagent.types.InboundMessage.sender")
    async def test_another_sender_may_say_the_same(self, tmp_path: Path) -> None:
        """The same bytes under the same control ID are a duplicate of the same sender's, and of no other's."""
        async with self._opened(tmp_path) as store:
            for seq, rules in ((0, AcceptanceRules()), (10, REJECT)):
                for number, (sender, wanted) in enumerate(((1, "committed"), (2, "committed"), (1, "duplicate")), 1):
                    one = stored_message(seq + number, rules.duplicates.value, b"same", rules=rules)
                    one.sender = sender
                    was = outcome(await store.commit([one], []))
                    expect(was == wanted, f"message {number} of three, of sender {sender}, was {was}, not {wanted}")

    @promise(f"{RULES}.duplicate_window")
    async def test_after_the_window_a_control_id_is_new(self, tmp_path: Path) -> None:
        """After `duplicate_window` seconds a control ID counts as new."""
        async with self._opened(tmp_path) as store:
            for seq, rules in ((0, AcceptanceRules(duplicate_window=60)), (10, AcceptanceRules(Duplicates.REJECT, 60))):
                name = rules.duplicates.value
                for number, (at, wanted) in enumerate(((0, "committed"), (59, "duplicate"), (61, "committed")), 1):
                    was = await self._sent(store, seq + number, name, b"same", rules, at)
                    expect(was == wanted, f"with {name}, a window of 60 s, {at} s after the first it was {was}, not {wanted}")

    @promise("medagent.queue.base.Duplicate")
    async def test_a_duplicate_joins_the_stored_message(self, tmp_path: Path) -> None:
        """A duplicate names the stored message, its state and answer; a live one is answered where the copy came from."""
        async with self._opened(tmp_path) as store:
            first = stored_message(1, "a")
            await store.commit([first], [])
            copy = stored_message(2, "a", first.body)
            copy.link, copy.remote = "c2", "10.0.0.8:2"
            named = [
                (one.message is copy, one.seq, one.state, one.response, one.joined)
                for one in (await store.commit([copy], [])).duplicates
            ]
            expect(named == [(True, 1, State.RECEIVED, None, True)], f"(the copy, seq, state, answer, joined) is {named}")
            found = await store.fetch_one(1)
            place = found and (found.link, found.remote)
            expect(place == ("c2", "10.0.0.8:2"), f"the stored message is to be answered at {place}")
            expect(seqs(await self._all(store)) == [1], "the copy was stored too")
            await store.commit([], [Change(first, State.RESPONSE_SENT, response="ACK")])
            again = (await store.commit([stored_message(3, "a", first.body)], [])).duplicates
            answers = [(one.seq, one.state, one.response) for one in again]
            expect(answers == [(1, State.RESPONSE_SENT, "ACK")], f"after the answer it says {answers}")

    @promise("medagent.types.KeepsAnswer")
    async def test_the_connection_that_keeps_the_answer_keeps_it(self, tmp_path: Path) -> None:
        """`keeps_answer` decides whether the first connection stays the one that is answered."""
        asked: list[tuple[str, str]] = []

        def keeps(first: str, second: str) -> bool:
            asked.append((first, second))
            return True

        async with self._opened(tmp_path) as store:
            rules = AcceptanceRules(keeps_answer=keeps)
            await store.commit([stored_message(1, "a", b"x", rules=rules)], [])
            copy = stored_message(2, "a", b"x", rules=rules)
            copy.link = "c2"
            joined = [one.joined for one in (await store.commit([copy], [])).duplicates]
            expect(joined == [False], f"the duplicates have joined {joined}")
            expect(asked == [("c1", "c2")], f"keeps_answer was asked {asked}, not once with the stored link and the copy's")
            found = await store.fetch_one(1)
            expect(found is not None and found.link == "c1", f"the answer goes to {found and found.link}")

    @promise("medagent.types.Duplicates")
    async def test_what_the_server_refused_is_tried_anew(self, tmp_path: Path) -> None:
        """A resend of a message that is `rejected` or `dead_letter` is a message of its own."""
        async with self._opened(tmp_path) as store:
            for seq, state, rules in ((1, State.REJECTED, REJECT), (11, State.DEAD_LETTER, AcceptanceRules())):
                one = stored_message(seq, "a" + state.name, b"x", rules=rules)
                await store.commit([one], [])
                await store.commit([], [Change(one, state)])
                for number, wanted in ((1, "committed"), (2, "duplicate")):
                    was = outcome(await store.commit([stored_message(seq + number, "a" + state.name, b"x", rules=rules)], []))
                    expect(was == wanted, f"resend {number} of one that is {state.name.lower()} was {was}, not {wanted}")

    @promise(f"{STORE}.commit")
    async def test_copies_in_one_commit_are_stored_once(self, tmp_path: Path) -> None:
        """Each message is treated in its turn: of two copies in one commit the second is a duplicate of the first."""
        async with self._opened(tmp_path) as store:
            for seq, rules in ((1, AcceptanceRules()), (11, REJECT)):
                name = rules.duplicates.value
                receipt = await store.commit([stored_message(seq + n, name, b"x", rules=rules) for n in (0, 1)], [])
                twins = [(one.message.seq, one.seq) for one in receipt.duplicates]
                expect(
                    (seqs(receipt.committed), twins) == ([seq], [(seq + 1, seq)]),
                    f"with {name} it says {seqs(receipt.committed)}, {twins}",
                )

    @promise(f"{STORE}.commit")
    async def test_a_resend_finds_the_answer_of_its_own_commit(self, tmp_path: Path) -> None:
        """Changes take effect before messages: a resend in the same commit as the answer finds the answer."""
        async with self._opened(tmp_path) as store:
            first = stored_message(1, "a", b"x")
            await store.commit([first], [])
            change = Change(first, State.RESPONSE_SENT, response="ACK")
            found = [one.response for one in (await store.commit([stored_message(2, "a", b"x")], [change])).duplicates]
            expect(found == ["ACK"], f"the resend found {found}")

    @promise(f"{RULES}.numbered")
    async def test_numbers_have_no_gaps(self, tmp_path: Path) -> None:
        """`numbered` messages get the next number of their channel from 0, duplicates none; reopening goes on with the next."""
        async with self._opened(tmp_path) as store:
            batch = [stored_message(seq, name, b"x", rules=NUMBERED) for seq, name in enumerate("abab", 1)]
            numbers = [one.number for one in (await store.commit(batch, [])).committed]
            expect(numbers == [0, 1], f"the numbers are {numbers}")
        async with self._opened(tmp_path) as store:
            numbers = [one.number for one in (await store.commit([stored_message(9, rules=NUMBERED)], [])).committed]
            expect(numbers == [2], f"after reopening the next number is {numbers}")
            numbers = [one.number for one in await self._all(store)]
            expect(numbers == [0, 1, 2], f"fetch() has the numbers {numbers}")

    @promise("medagent.types.InboundMessage.registers")
    async def test_registers_are_kept_with_their_message(self, tmp_path: Path) -> None:
        """Registers are on disk exactly if their message is: a duplicate moves none, one without a body is nothing else."""
        async with self._opened(tmp_path) as store:
            first, copy, note = stored_message(1, "a", b"x"), stored_message(2, "a", b"x"), stored_message(3, "")
            note.body = None
            first.registers, copy.registers, note.registers = (("one", 5),), (("one", 6),), (("two", -7),)
            receipt = await store.commit([first, copy, note], [])
            expect(seqs(receipt.noted) == [3], f"noted are seq {seqs(receipt.noted)}, not the message without a body")
            expect(receipt.registers == {"adt": {"one": 5, "two": -7}}, f"the receipt has registers {receipt.registers}")
        async with self._opened(tmp_path) as store:
            found = await store.registers()
            expect(found.get("adt") == {"one": 5, "two": -7}, f"registers() is {found}")
            expect(seqs(await self._all(store)) == [1], "the message without a body is in the queue")

    @promise(ADMISSION)
    async def test_an_admission_sees_what_the_ones_before_it_left(self, tmp_path: Path) -> None:
        """An admission is asked in turn, with the registers as the messages before it have set them, and may refuse."""
        async with self._opened(tmp_path) as store:
            turnstile = Turnstile()
            batch = [turnstile.on(stored_message(seq, name)) for seq, name in enumerate(("m1", "m3", "m2"), 1)]
            receipt = await store.commit(batch, [])
            expect(seqs(receipt.committed) == [1, 3], f"committed are seq {seqs(receipt.committed)}, not 1 and 3")
            refused = [(one.seq, refusal) for one, refusal in receipt.refused]
            expect(refused == [(2, OUT_OF_TURN)], f"refused are {refused}")
            registers = (await store.registers()).get("adt")
            expect(registers == {"expected": 3, "stopped": 3}, f"the registers are {registers}")
            receipt = await store.commit([turnstile.on(stored_message(4, "m1"))], [])
            expect(turnstile.twins[-1] is State.RECEIVED, f"of the stored twin it was told {turnstile.twins[-1]!r}")
            expect(outcome(receipt) == "duplicate", f"an admitted copy was {outcome(receipt)}, not duplicate")

    @promise(f"{STORE}.commit")
    async def test_parts_are_stored_all_or_not_at_all(self, tmp_path: Path) -> None:
        """Parts of one whole with an admission are stored all or not at all; the refusal's registers and no others stay."""
        async with self._opened(tmp_path) as store:
            turnstile = Turnstile()
            parts = [turnstile.on(stored_message(seq, name), whole=1) for seq, name in enumerate(("m1", "m2", "m5"), 1)]
            for part in parts:
                part.rules = NUMBERED
            receipt = await store.commit([*parts, turnstile.on(stored_message(4, "m1"))], [])
            expect(seqs(receipt.committed) == [4], f"committed are seq {seqs(receipt.committed)}, not only the one behind them")
            refused = [(one.seq, refusal.kind) for one, refusal in receipt.refused]
            wanted = [(1, RefusalKind.UNACCEPTABLE), (2, RefusalKind.UNACCEPTABLE), (3, RefusalKind.SEQUENCE)]
            expect(refused == wanted, f"refused are {refused}, not {wanted}")
            registers = (await store.registers()).get("adt")
            expect(registers == {"stopped": 5, "expected": 2}, f"the registers are {registers}")
            parts = [turnstile.on(stored_message(10 + seq, f"m{seq}"), whole=10) for seq in (2, 3)]
            expect(seqs((await store.commit(parts, [])).committed) == [12, 13], "admitted parts were not stored")
            expect(seqs(await self._all(store)) == [4, 12, 13], "the queue does not hold what the receipts say")
