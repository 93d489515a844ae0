"""What a batch does to the rows, resends included, and that the counters always say what the rows say."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from medagent.queue.base import Change, Receipt
from medagent.queue.sqlite.counting import read_depths
from medagent.queue.sqlite.schema import bring_up_to_date
from medagent.queue.sqlite.statements import FETCH, OLDEST, RECOVER, RETRIES, SIZE_OF_STATE
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import message
from medagent.types import AcceptanceRules, Duplicates, InboundMessage, State


def accepted(seq: int, control_id: str, body: str = "body", *, channel: str = "adt", link: str = "c1") -> InboundMessage:
    made = message(control_id, body, link=link)
    made.seq, made.channel, made.callback = seq, channel, f"key-{seq}"
    return made


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("statement", [FETCH, OLDEST, RECOVER, RETRIES, SIZE_OF_STATE])
def test_rows_of_one_state_are_found_whatever_else_is_live(statement: str) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        bring_up_to_date(connection)
        parameters = (None,) * statement.count("?")
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    assert "INDEX message_live (channel=? AND state=? AND seq>?)" in plan[0][3]
    assert not [step for *_, step in plan if "ORDER BY" in step]


def duplicates(receipt: Receipt) -> list[tuple[int, int]]:
    """(seq of the copy, seq of the stored one)."""
    return [(duplicate.message.seq, duplicate.seq) for duplicate in receipt.duplicates]


async def test_the_same_bytes_under_the_same_name_join(store: SqliteStore) -> None:
    await store.commit([accepted(1, "a", link="old")], [])
    receipt = await store.commit([accepted(2, "a", link="new"), accepted(3, "b")], [])
    assert duplicates(receipt) == [(2, 1)]
    assert [one.seq for one in receipt.committed] == [3]
    assert (receipt.duplicates[0].state, receipt.duplicates[0].response) == (State.RECEIVED, None)
    found = await store.fetch_one(1)
    assert found is not None
    assert found.link == "new", "the newest connection gets the answer"


async def test_twice_in_one_batch_joins_too(store: SqliteStore) -> None:
    receipt = await store.commit([accepted(1, "a", link="one"), accepted(2, "a", link="two"), accepted(3, "b")], [])
    assert duplicates(receipt) == [(2, 1)]
    assert [(one.seq, one.link, one.body) for one in await store.fetch("adt", 0, 10, 1000)] == [
        (1, "two", b"body"),
        (3, "c1", b"body"),
    ]


async def test_a_resend_joins_across_a_reopening(store: SqliteStore) -> None:
    await store.commit([accepted(1, "a")], [])
    await store.close()
    assert await store.open() == 1
    assert duplicates(await store.commit([accepted(2, "a")], [])) == [(2, 1)]


async def test_a_resend_finds_the_answer_even_one_of_the_same_commit(store: SqliteStore) -> None:
    one = accepted(1, "a", link="old")
    await store.commit([one], [])
    answered = Change(one, State.RESPONSE_UNDELIVERED, response="ACK", status_code=200)
    [same_commit] = (await store.commit([accepted(2, "a", link="new")], [answered])).duplicates
    assert (same_commit.seq, same_commit.state, same_commit.response) == (1, State.RESPONSE_UNDELIVERED, "ACK")
    [later] = (await store.commit([accepted(3, "a")], [])).duplicates
    assert (later.seq, later.state, later.response) == (1, State.RESPONSE_UNDELIVERED, "ACK")


@pytest.mark.parametrize(
    "other",
    [accepted(2, "a", "other body"), accepted(2, "b"), accepted(2, "a", channel="oru")],
    ids=["body", "name", "channel"],
)
async def test_other_messages_are_stored(store: SqliteStore, other: InboundMessage) -> None:
    await store.commit([accepted(1, "a")], [])
    assert (await store.commit([other], [])).committed == [other]


async def test_a_message_without_a_name_is_never_a_resend(store: SqliteStore) -> None:
    receipt = await store.commit([accepted(seq, "") for seq in (1, 2)], [])
    assert len(receipt.committed) == 2
    assert (await store.commit([accepted(3, "")], [])).duplicates == []


@pytest.mark.parametrize("state", [State.REJECTED, State.DEAD_LETTER])
async def test_a_resend_of_what_was_refused_is_a_new_try(store: SqliteStore, state: State) -> None:
    one = accepted(1, "a")
    await store.commit([one], [])
    await store.commit([], [Change(one, state, error="no such patient")])
    two = accepted(2, "a")
    assert (await store.commit([two], [])).committed == [two]
    assert duplicates(await store.commit([accepted(3, "a")], [])) == [(3, 2)], "the newest of the twins counts"
    await store.commit([], [Change(two, state)])
    four = accepted(4, "a")
    receipt = await store.commit([four, accepted(5, "a")], [])
    assert receipt.committed == [four]
    assert duplicates(receipt) == [(5, 4)]
    assert [found.body for found in await store.fetch("adt", 0, 10, 1000)] == [b"body"]


async def test_a_strategy_may_change_the_order_without_losing_a_body(store: SqliteStore) -> None:
    await store.commit([accepted(1, "a")], [])
    receipt = await store.commit([accepted(4, "c"), accepted(3, "a"), accepted(2, "b")], [])
    assert duplicates(receipt) == [(3, 1)]
    assert [found.control_id for found in await store.fetch("adt", 0, 10, 1000)] == ["a", "b", "c"]


async def test_one_failing_statement_rolls_all_of_it_back(store: SqliteStore, tmp_path: Path) -> None:
    one = accepted(1, "a")
    await store.commit([one], [])
    number = (await store.commit([], [])).number
    bad = accepted(3, "c")
    bad.remote = None  # type: ignore[assignment]  # what the schema refuses
    with pytest.raises(sqlite3.IntegrityError):
        await store.commit([accepted(2, "b"), bad], [Change(one, State.PROCESSED)])
    assert one.stored_state is State.RECEIVED
    counts = (await store.depths())["adt"].counts
    assert {state: count for state, count in counts.items() if count} == {State.RECEIVED: 1}
    assert [found.seq for found in await store.fetch("adt", 0, 10, 1000)] == [1]
    receipt = await store.commit([accepted(2, "b")], [])
    assert receipt.number == number + 1, "a failed commit has no receipt"


RULES = {
    "adt": AcceptanceRules(),
    "oru": AcceptanceRules(Duplicates.REJECT, numbered=True),
    "mdm": AcceptanceRules(Duplicates.ACCEPT),
}


class Rows(RuleBasedStateMachine):
    """Random inserts, resends, changes, failures and reopenings."""

    @initialize()
    def open(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queue.db"
        self.store = SqliteStore(self.path)
        self.last = self.loop.run_until_complete(self.store.open())
        self.stored: dict[int, InboundMessage] = {}
        self.states: dict[int, State] = {}

    def run(self, messages: list[InboundMessage], changes: list[Change]) -> Receipt:
        receipt = self.loop.run_until_complete(self.store.commit(messages, changes))
        self.states |= {change.message.seq: change.state for change in changes}
        self.stored |= {one.seq: one for one in receipt.committed}
        self.states |= {one.seq: State.RECEIVED for one in receipt.committed}
        return receipt

    def arrivals(self, names: list[tuple[str, str, str]]) -> list[InboundMessage]:
        made = []
        for channel, name, body in names:
            self.last += 1
            made.append(accepted(self.last, name, body, channel=channel))
            made[-1].rules = RULES[channel]
        return made

    names = st.lists(
        st.tuples(st.sampled_from(sorted(RULES)), st.sampled_from(["", "a", "b"]), st.sampled_from(["x", "y"])), max_size=6
    )

    @rule(names=names, data=st.data())
    def commit(self, names: list[tuple[str, str, str]], data: st.DataObject) -> None:
        live = [seq for seq, state in self.states.items() if not state.ended]
        changed = data.draw(st.lists(st.sampled_from(live), unique=True, max_size=4)) if live else []
        changes = [Change(self.stored[seq], data.draw(st.sampled_from(State)), response="ACK") for seq in changed]
        messages = self.arrivals(names)
        receipt = self.run(messages, changes)
        assert len(receipt.committed) + len(receipt.duplicates) + len(receipt.rejected) == len(messages)
        assert {one.channel for one in receipt.rejected} <= {"oru"}
        for duplicate in receipt.duplicates:
            twin = self.stored[duplicate.seq]
            assert (twin.channel, twin.control_id, twin.body) == (
                duplicate.message.channel,
                duplicate.message.control_id,
                duplicate.message.body,
            )
            assert twin.control_id
            assert self.states[duplicate.seq] is duplicate.state
            assert duplicate.state not in (State.REJECTED, State.DEAD_LETTER)
        identities = [
            (one.channel, one.control_id, one.body)
            for seq, one in self.stored.items()
            if one.control_id and one.channel != "mdm" and self.states[seq] not in (State.REJECTED, State.DEAD_LETTER)
        ]
        assert len(identities) == len(set(identities))
        bodies = {(one.control_id, one.body) for one in self.stored.values() if one.channel == "oru" and one.control_id}
        assert len(bodies) == len({name for name, _ in bodies}), "where reuse is refused, a name means one body"
        numbers = [one.number for _, one in sorted(self.stored.items()) if one.channel == "oru"]
        assert numbers == list(range(len(numbers)))

    @precondition(lambda self: self.stored)
    @rule(names=names)
    def commit_that_fails(self, names: list[tuple[str, str, str]]) -> None:
        bad = accepted(next(iter(self.stored)), "its seq is taken", "z")
        with contextlib.suppress(sqlite3.Error):
            self.loop.run_until_complete(self.store.commit([*self.arrivals(names), bad], []))
            raise AssertionError("it was committed")

    @rule()
    def reopen(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.store = SqliteStore(self.path)
        assert self.loop.run_until_complete(self.store.open()) == max(self.stored, default=0)
        recovered = {State.SENT: State.RECEIVED, State.RESPONSE_QUEUED: State.RESPONSE_UNDELIVERED}
        self.states = {seq: recovered.get(state, state) for seq, state in self.states.items()}
        for seq, one in self.stored.items():
            one.stored_state = self.states[seq]

    @invariant()
    def counters_say_what_the_rows_say(self) -> None:
        depths = self.loop.run_until_complete(self.store.depths())
        counted = {(name, state): n for name, depth in depths.items() for state, n in depth.counts.items() if n}
        assert counted == Counter((self.stored[seq].channel, state) for seq, state in self.states.items())

    @invariant()
    def pages_hold_the_received_in_order(self) -> None:
        for channel in RULES:
            found = self.loop.run_until_complete(self.store.fetch(channel, 0, 1000, 1_000_000))
            expected = [
                seq
                for seq, state in sorted(self.states.items())
                if state is State.RECEIVED and self.stored[seq].channel == channel
            ]
            assert [one.seq for one in found] == expected

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        self.loop.run_until_complete(self.store.close())
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            in_rows = dict.fromkeys(
                (
                    (channel, State(state))
                    for channel, state in connection.execute("SELECT DISTINCT channel, state FROM message")
                ),
                0,
            )
            for channel, state in connection.execute("SELECT channel, state FROM message"):
                in_rows[channel, State(state)] += 1
            bodies = connection.execute("SELECT count(*) FROM message JOIN body USING (seq)").fetchone()[0]
        depths = read_depths(self.path)
        assert {(name, s): n for name, depth in depths.items() for s, n in depth.counts.items() if n} == in_rows
        assert bodies == len(self.stored), "each message has its body"
        self.loop.close()
        self.folder.cleanup()


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
