"""Resends, used control IDs, numbers, registers and messages that belong together, by the rules of their channel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.queue.base import Change, Receipt
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import QueueWorld, message
from medagent.types import AcceptanceRules, Duplicates, InboundMessage, RefusalKind, State

HOUR = 3600.0
REJECT = AcceptanceRules(Duplicates.REJECT)
ACCEPT = AcceptanceRules(Duplicates.ACCEPT)
NUMBERED = AcceptanceRules(numbered=True)


class Sender:
    """Commits messages to a store, with times of its own."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.seq = 0
        self.sent: list[InboundMessage] = []

    def make(self, control_id: str, body: str, rules: AcceptanceRules, at: float = 0.0) -> InboundMessage:
        self.seq += 1
        made = message(control_id, body)
        made.seq, made.channel, made.callback, made.accepted_at = self.seq, "adt", f"key-{self.seq}", 1e9 + at
        made.rules = rules
        self.sent.append(made)
        return made

    async def send(self, control_id: str, body: str, rules: AcceptanceRules, at: float = 0.0) -> Receipt:
        return await self.store.commit([self.make(control_id, body, rules, at)], [])

    async def end(self, sent: InboundMessage, state: State) -> None:
        await self.store.commit([], [Change(sent, state, response="ACK")])


@pytest.fixture
async def sender(tmp_path: Path) -> AsyncIterator[Sender]:
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    yield Sender(store)
    await store.close()


def outcome(receipt: Receipt) -> str:
    if receipt.duplicates:
        return "duplicate"
    if receipt.rejected:
        return "rejected"
    return "reused" if receipt.reused else "stored"


async def test_senders_use_control_ids_by_themselves(sender: Sender) -> None:
    for rules in (REJECT, AcceptanceRules()):
        name = rules.duplicates.value
        one, other, again = (sender.make(name, body, rules) for body in ("one", "two", "three"))
        one.sender, other.sender, again.sender = 1, 2, 2
        assert outcome(await sender.store.commit([one], [])) == "stored"
        assert outcome(await sender.store.commit([other], [])) == "stored"
        assert outcome(await sender.store.commit([again], [])) == ("rejected" if rules is REJECT else "reused")


@pytest.mark.parametrize("rules", [AcceptanceRules(), REJECT])
async def test_another_sender_may_say_the_same(sender: Sender, rules: AcceptanceRules) -> None:
    async def send(number: int) -> str:
        made = sender.make("a", "one", rules)
        made.sender = number
        return outcome(await sender.store.commit([made], []))

    assert [await send(number) for number in (1, 2, 3, 2, 1, 3)] == ["stored"] * 3 + ["duplicate"] * 3
    assert [one.body for one in await sender.store.fetch("adt", 0, 10, 10**6)] == [b"one"] * 3


async def test_what_has_no_sender_may_be_of_any(sender: Sender) -> None:
    """In a file of version 1 nothing has one, and its messages are still sent again."""
    await sender.send("a", "one", AcceptanceRules())
    resend = sender.make("a", "one", AcceptanceRules())
    resend.sender = 5
    assert outcome(await sender.store.commit([resend], [])) == "duplicate"


async def test_two_senders_may_say_the_same_at_once(sender: Sender) -> None:
    made = [sender.make("a", "one", AcceptanceRules()) for _ in range(4)]
    for number, one in enumerate(made):
        one.sender = 1 + number % 2
    receipt = await sender.store.commit(made, [])
    assert receipt.committed == made[:2]
    assert [(duplicate.message, duplicate.seq) for duplicate in receipt.duplicates] == [(made[2], 1), (made[3], 2)]


@pytest.mark.parametrize("rules", [AcceptanceRules(duplicate_window=HOUR), AcceptanceRules(Duplicates.REJECT, HOUR)])
async def test_after_the_window_a_control_id_is_new(sender: Sender, rules: AcceptanceRules) -> None:
    await sender.send("a", "one", rules)
    await sender.end(sender.sent[0], State.PROCESSED)
    assert outcome(await sender.send("a", "one", rules, at=HOUR - 1)) == "duplicate"
    assert outcome(await sender.send("a", "one", rules, at=HOUR)) in ("stored", "reused")
    assert outcome(await sender.send("a", "one", rules, at=HOUR + 1)) == "duplicate", "of the second one"


@pytest.mark.parametrize("rules", [AcceptanceRules(), REJECT])
async def test_a_resend_of_what_the_server_refused_is_a_new_try(sender: Sender, rules: AcceptanceRules) -> None:
    await sender.send("a", "one", rules)
    await sender.end(sender.sent[0], State.REJECTED)
    assert outcome(await sender.send("a", "one", rules)) in ("stored", "reused")
    assert outcome(await sender.send("a", "one", rules)) == "duplicate"


def places(receipt: Receipt) -> list[int]:
    """The seqs of what was stored."""
    return [one.seq for one in receipt.committed]


def twins(receipt: Receipt) -> list[tuple[int, int]]:
    """The seqs of resends, and of what they are resends of."""
    return [(duplicate.message.seq, duplicate.seq) for duplicate in receipt.duplicates]


async def test_a_batch_of_a_channel_that_accepts_everything_is_stored_as_it_is(sender: Sender) -> None:
    await sender.send("a", "one", ACCEPT)
    receipt = await sender.store.commit([sender.make("a", body, ACCEPT) for body in ("one", "one", "two")], [])
    assert (places(receipt), receipt.duplicates, receipt.reused) == ([2, 3, 4], [], [])
    assert [one.body for one in await sender.store.fetch("adt", 0, 10, 10**6)] == [b"one", b"one", b"one", b"two"]


async def test_channels_that_accept_everything_share_batches_with_others(sender: Sender) -> None:
    stored = sender.make("a", "one", ACCEPT), sender.make("a", "one", AcceptanceRules())
    stored[0].channel = "all"
    await sender.store.commit(stored, [])
    batch_of_both = [sender.make("a", "one", rules) for rules in (ACCEPT, AcceptanceRules()) * 2]
    batch_of_both += [sender.make("a", "two", rules) for rules in (ACCEPT, AcceptanceRules())]
    for one in batch_of_both[::2]:
        one.channel = "all"
    receipt = await sender.store.commit(batch_of_both, [])
    assert places(receipt) == [3, 5, 7, 8]
    assert twins(receipt) == [(4, 2), (6, 2)]
    assert receipt.reused == [batch_of_both[-1]]


@pytest.mark.parametrize("stored", [None, ACCEPT, AcceptanceRules()], ids=["new", "accepted", "idempotent"])
async def test_both_in_one_channel_are_stored_in_turns(sender: Sender, stored: AcceptanceRules | None) -> None:
    """As in the commit after a reload that has changed the rules."""
    first = 0
    if stored is not None:
        await sender.send("a", "one", stored)
        first = 1
    receipt = await sender.store.commit([sender.make("a", "one", rules) for rules in (ACCEPT, AcceptanceRules(), ACCEPT)], [])
    assert places(receipt) == [first + 1, first + 3]
    assert twins(receipt) == [(first + 2, first + 1)]


async def test_numbers_have_no_gaps_and_survive_a_restart(sender: Sender, tmp_path: Path) -> None:
    receipt = await sender.store.commit([sender.make(name, name, NUMBERED) for name in "abab"], [])
    assert [one.number for one in receipt.committed] == [0, 1]
    bad = sender.make("c", "c", NUMBERED)
    bad.remote = None  # type: ignore[assignment]  # what the database refuses
    with pytest.raises(Exception, match="NOT NULL"):
        await sender.store.commit([sender.make("d", "d", NUMBERED), bad], [])
    await sender.store.close()
    again = Sender(SqliteStore(tmp_path / "queue.db"))
    again.seq = await again.store.open() + 10
    receipt = await again.send("d", "d", NUMBERED)
    assert [one.number for one in receipt.committed] == [2]
    assert [one.number for one in await again.store.fetch("adt", 0, 10, 10**6)] == [0, 1, 2]
    await again.store.close()


async def test_registers_are_on_disk_exactly_if_their_message_is(sender: Sender, tmp_path: Path) -> None:
    first, copy, bad = (sender.make(name, name, AcceptanceRules()) for name in "aab")
    first.registers, copy.registers, bad.registers = (("expected", 5),), (("expected", 6),), (("expected", 7),)
    await sender.store.commit([first, copy], [])
    bad.remote = None  # type: ignore[assignment]  # what the database refuses
    with pytest.raises(Exception, match="NOT NULL"):
        await sender.store.commit([bad], [])
    assert await sender.store.registers() == {"adt": {"expected": 5}}
    await sender.store.close()
    again = SqliteStore(tmp_path / "queue.db")
    await again.open()
    assert await again.registers() == {"adt": {"expected": 5}}
    await again.close()


def note(register: str, value: int) -> InboundMessage:
    made = message("")
    made.body, made.registers = None, ((register, value),)
    return made


async def test_a_message_without_a_body_is_nothing_but_its_registers(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        stored = message("a")
        stored.registers = (("expected", 2),)
        await world.accept(note("expected", 1), stored, note("frozen", 1))
        assert [one.control_id for one in world.channel.acknowledged] == ["", "a", ""], "in order"
        assert await world.store.registers() == {"adt": {"expected": 2, "frozen": 1}}, "the later one counts"
        await world.accept(note("expected", -1))
        assert (await world.store.registers())["adt"]["expected"] == -1
        assert await world.states() == {State.RECEIVED: 1}
        assert world.intake.buffered == 0


async def test_registers_that_cannot_be_committed_are_refused(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.store.refuse = lambda messages, changes: True
        await world.accept(note("expected", 1))
        assert [refusal.kind for _, refusal in world.channel.refusals] == [RefusalKind.STORAGE]
        assert await world.store.registers() == {}


def batch(*control_ids: str) -> InboundMessage:
    whole = message("")
    whole.body, whole.parts = None, tuple(message(control_id) for control_id in control_ids)
    return whole


async def test_parts_are_committed_together(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        await world.accept(message("a"), batch("b", "c"), message("d"))
        assert [one.control_id for one in world.channel.acknowledged] == ["a", "b", "c", "d"]
        assert {frozenset(ids) for ids, _ in world.store.commits} == {frozenset("abcd")}
        assert world.intake.buffered == 0


async def test_parts_are_refused_together(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.store.refuse = lambda messages, changes: any(one.control_id == "c" for one in messages)
        await world.accept(message("a"), batch("b", "c"), message("d"))
        assert [one.control_id for one in world.channel.acknowledged] == ["a", "d"]
        assert [(one.control_id, refusal.kind) for one, refusal in world.channel.refusals] == [
            ("b", RefusalKind.STORAGE),
            ("c", RefusalKind.STORAGE),
        ]
        assert world.intake.buffered == 0
        assert await world.states() == {State.RECEIVED: 2}


async def test_a_rejected_control_id_is_refused_as_a_duplicate(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        one, two = message("a", "one"), message("a", "two")
        one.rules = two.rules = REJECT
        await world.accept(one)
        await world.accept(two)
        assert [refusal.kind for _, refusal in world.channel.refusals] == [RefusalKind.DUPLICATE]
        assert world.intake.buffered == 0


async def test_a_sender_that_reuses_control_ids_is_noted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with QueueWorld(tmp_path) as world:
        for body in ("one", "two", "three"):
            await world.accept(message("a", body))
        assert world.intake.reused == 2
        assert await world.states() == {State.RECEIVED: 3}
    assert caplog.text.count("uses control IDs again") == 1
