"""The bytes of live messages: exact after every commit and every restart, whatever happened before."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.queue.base import Change
from medagent.queue.sqlite.counting import read_depths
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.queue import message
from medagent.types import InboundMessage, State


def accepted(seq: int, size: int, channel: str) -> InboundMessage:
    made = message(f"m{seq}", "x" * size)
    made.seq, made.channel, made.callback, made.accepted_at = seq, channel, f"key-{seq}", 1000.0 + seq
    return made


def on_disk(path: Path) -> dict[str, int]:
    """The truth, by a look at every row."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return dict(
            connection.execute(
                "SELECT channel, sum(length(data)) FROM message JOIN body USING (seq) WHERE state < 10 GROUP BY channel"
            )
        )


Step = tuple[list[tuple[int, str]], list[tuple[int, State]], bool]
STEP = st.tuples(
    st.lists(st.tuples(st.integers(1, 500), st.sampled_from(["adt", "oru"])), max_size=4),
    st.lists(st.tuples(st.integers(0, 100), st.sampled_from(list(State))), max_size=4),
    st.booleans(),
)
AFTER_RESTART = {State.SENT: State.RECEIVED, State.RESPONSE_QUEUED: State.RESPONSE_UNDELIVERED}


@settings(deadline=None, max_examples=40)
@given(st.lists(STEP, max_size=6))
def test_the_running_sum_is_that_of_the_rows(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(follow(Path(folder) / "queue.db", steps))


async def follow(path: Path, steps: list[Step]) -> None:
    """Commit each step, compare, and restart: in a file of an older medagent if the step says so."""
    known: list[InboundMessage] = []
    for new, moves, old_file in steps:
        store = SqliteStore(path)
        await store.open()
        for one in known:
            if one.stored_state is not None:
                one.stored_state = AFTER_RESTART.get(one.stored_state, one.stored_state)
        assert await store.registers() == {}, "no business of the channels"
        targets = {index % len(known): state for index, state in moves} if known else {}
        # what has ended stays so, but an answer may reach the device later
        allowed = [
            (known[at], state) for at, state in targets.items() if state.ended or not (known[at].stored_state or 0) >= 10
        ]
        messages = [accepted(len(known) + number, size, channel) for number, (size, channel) in enumerate(new, 1)]
        await store.commit(messages, [Change(one, state) for one, state in allowed])
        known += messages
        told = {name: depth.live_bytes for name, depth in (await store.depths()).items() if depth.live_bytes}
        await store.close()
        assert told == on_disk(path)
        assert {name: depth.live_bytes for name, depth in read_depths(path).items() if depth.live_bytes} == told
        if old_file:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DELETE FROM register")


async def test_an_answer_that_is_delivered_later_ends_nothing_twice(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    try:
        first, second = accepted(1, 100, "adt"), accepted(2, 10, "adt")
        await store.commit([first, second], [])
        for state in (State.RESPONSE_UNDELIVERED, State.RESPONSE_SENT):
            await store.commit([], [Change(first, state)])
            assert (await store.depths())["adt"].live_bytes == 10
    finally:
        await store.close()
