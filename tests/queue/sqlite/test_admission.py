"""Admissions: what a channel decides inside the transaction, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from medagent.queue.base import Change, Receipt
from medagent.queue.sqlite.registers import ChannelRegisters
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import QueueWorld, message
from medagent.types import AcceptanceRules, Decision, Duplicates, InboundMessage, Refusal, RefusalKind, State

SEQUENCE = Refusal(RefusalKind.SEQUENCE, "not that one")
PASSING = Refusal(RefusalKind.STORAGE, "later")


class Turnstile:
    """Admits messages whose control ID ends in the number that is expected; another one is noted, and refused."""

    def __init__(self) -> None:
        self.twins: list[State | None] = []

    def __call__(self, message: InboundMessage, registers: Mapping[str, int], twin: State | None) -> Decision:
        self.twins.append(twin)
        if twin is not None:
            return Decision()
        expected = registers.get("expected", 1)
        number = int(message.control_id[1:])
        if number > 90:
            return Decision(refusal=PASSING)
        if number != expected:
            return Decision((("stopped", number),), SEQUENCE)
        return Decision((("expected", number + 1),))


class Site:
    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.turnstile = Turnstile()
        self.seq = 0

    def make(self, control_id: str, body: str = "", *, whole: int = 0, rules: AcceptanceRules | None = None) -> InboundMessage:
        self.seq += 1
        made = message(control_id, body)
        made.seq, made.channel, made.callback, made.accepted_at = self.seq, "adt", f"key-{self.seq}", 1e9
        made.whole, made.admission = whole, self.turnstile
        made.rules = rules or made.rules
        return made

    async def commit(self, *messages: InboundMessage) -> Receipt:
        return await self.store.commit(messages, [])

    async def registers(self) -> dict[str, int]:
        return (await self.store.registers()).get("adt", {})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    yield Site(store)
    await store.close()


def ids(messages: list[InboundMessage]) -> list[str]:
    return [each.control_id for each in messages]


def refusals(receipt: Receipt) -> list[tuple[str, RefusalKind]]:
    return [(each.control_id, refusal.kind) for each, refusal in receipt.refused]


async def test_each_is_asked_with_what_the_ones_before_it_have_left(site: Site) -> None:
    receipt = await site.commit(*(site.make(control_id) for control_id in ("m1", "m3", "m2", "m3", "m99")))
    assert ids(receipt.committed) == ["m1", "m2", "m3"]
    assert refusals(receipt) == [("m3", RefusalKind.SEQUENCE), ("m99", RefusalKind.STORAGE)]
    assert receipt.registers == {"adt": {"expected": 4, "stopped": 3}}
    assert await site.registers() == {"expected": 4, "stopped": 3}, "a refusal may leave something, too"


async def test_nothing_moves_if_the_transaction_fails(site: Site, tmp_path: Path) -> None:
    bad = site.make("m2")
    bad.remote = None  # type: ignore[assignment]  # what the database refuses
    with pytest.raises(Exception, match="NOT NULL"):
        await site.commit(site.make("m1"), site.make("m7"), bad)
    assert await site.registers() == {}
    assert ids((await site.commit(site.make("m1"))).committed) == ["m1"]
    await site.store.close()
    again = SqliteStore(tmp_path / "queue.db")
    await again.open()
    assert await again.registers() == {"adt": {"expected": 2}}
    await again.close()


@pytest.mark.parametrize("duplicates", list(Duplicates))
async def test_a_twin_is_a_duplicate_whatever_the_rules(site: Site, duplicates: Duplicates) -> None:
    rules = AcceptanceRules(duplicates)
    await site.commit(site.make("m1", rules=rules))
    receipt = await site.commit(site.make("m2", rules=rules), site.make("m1", rules=rules))
    assert [each.seq for each in receipt.duplicates] == [1]
    assert site.turnstile.twins == [None, None, State.RECEIVED]
    assert await site.registers() == {"expected": 3}


async def test_what_the_server_refused_is_no_duplicate(site: Site) -> None:
    first = site.make("m1")
    await site.commit(first)
    await site.store.commit([], [Change(first, State.REJECTED)])
    receipt = await site.commit(site.make("m1"))
    assert ids(receipt.committed) == ["m1"]
    assert site.turnstile.twins == [None, State.REJECTED]


async def test_a_used_control_id_is_rejected_before_anything_moves(site: Site) -> None:
    rules = AcceptanceRules(Duplicates.REJECT)
    await site.commit(site.make("m1", rules=rules))
    receipt = await site.commit(site.make("m1", "other", rules=rules))
    assert ids(receipt.rejected) == ["m1"]
    assert receipt.registers == {}


async def test_parts_are_stored_all_or_not_at_all(site: Site) -> None:
    numbered = AcceptanceRules(numbered=True)
    parts = [site.make(control_id, whole=9, rules=numbered) for control_id in ("m2", "m3", "m5")]
    receipt = await site.commit(site.make("m1", rules=numbered), *parts, site.make("m2", rules=numbered))
    assert ids(receipt.committed) == ["m1", "m2"]
    assert refusals(receipt) == [
        ("m2", RefusalKind.UNACCEPTABLE),
        ("m3", RefusalKind.UNACCEPTABLE),
        ("m5", RefusalKind.SEQUENCE),
    ]
    assert await site.registers() == {"expected": 3, "stopped": 5, "number": 2}, "numbers have no gaps"
    assert [part.number for part in parts] == [None] * 3
    receipt = await site.commit(*(site.make(control_id, whole=20) for control_id in ("m3", "m3", "m4")))
    assert ids(receipt.committed) == ["m3", "m4"]
    assert ids([each.message for each in receipt.duplicates]) == ["m3"]


async def test_a_part_that_has_to_wait_makes_all_wait(site: Site) -> None:
    receipt = await site.commit(*(site.make(control_id, whole=1) for control_id in ("m1", "m99")))
    assert [kind for _, kind in refusals(receipt)] == [RefusalKind.STORAGE] * 2


async def test_a_rejected_part_refuses_the_others_only_where_there_are_admissions(site: Site) -> None:
    rules = AcceptanceRules(Duplicates.REJECT)
    await site.commit(site.make("m1", rules=rules))
    receipt = await site.commit(*(site.make(name, "other", whole=5, rules=rules) for name in ("m2", "m1", "m3")))
    assert receipt.committed == []
    assert ids(receipt.rejected) == ["m1"]
    assert refusals(receipt) == [("m2", RefusalKind.UNACCEPTABLE), ("m3", RefusalKind.UNACCEPTABLE)]
    parts = [site.make(name, "other", whole=8, rules=rules) for name in ("m2", "m1", "m3")]
    for part in parts:
        part.admission = None
    receipt = await site.commit(*parts)
    assert (ids(receipt.committed), ids(receipt.rejected)) == (["m2", "m3"], ["m1"])


async def test_a_message_without_a_body_is_asked_for_too(site: Site) -> None:
    note = site.make("m1")
    note.body = None
    receipt = await site.commit(note, site.make("m2"))
    assert ids(receipt.noted) == ["m1"]
    assert ids(receipt.committed) == ["m2"]
    refused = site.make("m9")
    refused.body = None
    assert refusals(await site.commit(refused)) == [("m9", RefusalKind.SEQUENCE)]


async def test_channels_hear_in_order_and_see_the_registers(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        seen: list[dict[str, int]] = []
        turnstile = Turnstile()
        messages = [message(control_id) for control_id in ("m1", "m7", "m2", "m1")]
        for each in messages:
            each.admission = turnstile
        told: list[tuple[list[str], bool]] = []
        channel = world.channel
        committed, refused = channel.committed, channel.refused

        def on_committed(some: list[InboundMessage]) -> None:
            told.append((ids(some), True))
            seen.append(dict(world.intake.registers("adt")))
            committed(some)

        def on_refused(some: list[InboundMessage], refusal: Refusal) -> None:
            told.append((ids(some), False))
            refused(some, refusal)

        channel.committed, channel.refused = on_committed, on_refused  # type: ignore[method-assign, assignment]  # a spy
        await world.accept(*messages)
        assert told == [(["m1"], True), (["m7"], False), (["m2", "m1"], True)]
        assert seen[0] == {"expected": 3, "stopped": 7}
        assert messages[3].copy_of == messages[0].seq
        assert messages[0].copy_of == 0
        assert world.intake.refused == 1
        assert world.intake.buffered == world.intake.buffered_bytes == 0
        await world.accept(message("x"))
        assert await world.states() == {State.RECEIVED: 3}


async def test_a_whole_keeps_together_on_its_way_to_the_store(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        turnstile = Turnstile()
        wholes = []
        for names in (("m1", "m3"), ("m1", "m2")):
            whole = message("")
            whole.body, whole.parts = None, tuple(message(name) for name in names)
            for part in whole.parts:
                part.admission = turnstile
            wholes.append(whole)
        await world.accept(*wholes)
        assert [each.control_id for each in world.channel.acknowledged] == ["m1", "m2"]
        assert [each.control_id for each, _ in world.channel.refusals] == ["m1", "m3"]


async def test_parts_are_refused_by_themselves_while_nothing_is_accepted(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world:
        world.intake.accepting = False
        whole = message("")
        whole.body, whole.parts = None, (message("a"), message("b"))
        await world.accept(whole)
        assert [(each.control_id, refusal.kind) for each, refusal in world.channel.refusals] == [
            ("a", RefusalKind.STORAGE),
            ("b", RefusalKind.STORAGE),
        ]


def test_a_channels_registers_show_the_newest_changes() -> None:
    registers = ChannelRegisters("adt", {("adt", "a"): 1}, {("adt", "a"): 2, ("adt", "b"): 3, ("oru", "c"): 4})
    assert dict(registers) == {"a": 1, "b": 3}
    assert len(registers) == 2
    assert registers.get("c", 0) == 0
    assert "a" in registers
