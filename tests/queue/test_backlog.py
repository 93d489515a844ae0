"""The limits of the queue: exact counts, full at the limit, open again at the low-water mark, one word in the log each way."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.config.model import BacklogConfig
from medagent.queue.backlog import LOW_WATER, Backlog
from medagent.queue.base import ChannelDepth
from medagent.queue.brake import Brake
from medagent.testing.doubles import RecordingChannel
from medagent.testing.queue import message
from medagent.types import InboundMessage, State

MIB = 1024 * 1024


def sized(size: int) -> InboundMessage:
    made = message("m", "")
    made.size = size
    return made


READS = st.lists(st.integers(0, 3 * MIB), min_size=1, max_size=8)
ENDS = st.integers(1, 8)
RESTART = st.none()


@given(
    st.integers(0, 12), st.integers(0, 6), st.sampled_from(["refuse", "pause"]), st.lists(READS | ENDS | RESTART, max_size=40)
)
def test_it_is_full_from_the_limit_to_the_low_water_mark(
    max_messages: int, max_mb: int, behavior: str, steps: list[list[int] | int | None]
) -> None:
    config = BacklogConfig(max_messages=max_messages, max_mb=max_mb, full_behavior=behavior)
    channel = RecordingChannel()
    backlog = Backlog(config, Brake({"adt": channel}))
    live: list[InboundMessage] = []
    refused = 0

    def size() -> int:
        return sum(each.size for each in live)

    def reached() -> bool:
        return bool(max_messages and len(live) >= max_messages) or bool(max_mb and size() >= max_mb * MIB)

    full = False
    for step in steps:
        if isinstance(step, list):
            read = [sized(each) for each in step]
            admitted, surplus = backlog.admit(read)
            if behavior == "pause":
                assert (admitted, surplus) == (read, [])
                live += read
                full = full or reached()
            else:
                assert admitted + surplus == read, "in order, and none twice"
                for each in read:
                    assert (each in surplus) == full
                    refused += full
                    live += [] if full else [each]
                    full = full or reached()
        elif step is None:
            backlog = Backlog(config, Brake({"adt": channel}))
            backlog.begin({"adt": ChannelDepth({State.RECEIVED: len(live), State.PROCESSED: 7}, None, live_bytes=size())})
            full, refused = reached(), 0
            channel.paused = [True] if full and behavior == "pause" else []
        else:
            for _ in range(min(step, len(live))):
                backlog.left([live.pop(0)])
                low = len(live) <= max_messages * LOW_WATER or not max_messages
                full = full and not (low and (size() <= max_mb * MIB * LOW_WATER or not max_mb))
        assert bool(backlog.reason) == full
        counted = (len(live), size()) if config.limited else (0, 0)
        assert (backlog.messages, backlog.bytes, backlog.refused) == (*counted, refused)
        assert channel.paused[-1:] != [True] if not full or behavior == "refuse" else channel.paused[-1:] == [True]


def test_without_limits_it_takes_everything() -> None:
    backlog = Backlog(BacklogConfig(), Brake({}))
    backlog.aged(1e9)
    assert backlog.admit([sized(MIB) for _ in range(5000)])[1] == []
    assert backlog.reason == ""
    assert not backlog.watches_age


def test_an_old_message_fills_it_until_it_has_ended() -> None:
    backlog = Backlog(BacklogConfig(max_age_secs=100), Brake({}))
    assert backlog.watches_age
    for age, full in ((99.9, False), (100.0, True), (85.0, True), (80.0, False), (99.0, False), (101.0, True), (0.0, False)):
        backlog.aged(age)
        assert bool(backlog.reason) == full
    backlog.aged(100.0)
    assert "queueMaxAgeSecs 100" in backlog.reason


def test_one_word_when_it_is_full_and_one_when_it_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    backlog = Backlog(BacklogConfig(max_messages=10), Brake({}))
    for _ in range(3):
        backlog.admit([sized(1) for _ in range(20)])
    full, *others = [record.getMessage() for record in caplog.records]
    assert full == "the queue is full: live messages: 10 (queueMaxMessages 10); new messages are refused"
    assert others == []
    backlog.left([sized(1)] * 5)
    assert [record.getMessage() for record in caplog.records][1:] == [
        "the queue takes messages again; 50 refused so far because it was full"
    ]


def test_what_is_committed_together_comes_in_together_or_not_at_all() -> None:
    backlog = Backlog(BacklogConfig(max_messages=3), Brake({}))
    first, second = message("first"), message("second")
    first.parts, second.parts = tuple(sized(1) for _ in range(5)), tuple(sized(1) for _ in range(5))
    assert backlog.admit([first, second]) == ([first], [second])
    assert (backlog.messages, backlog.refused) == (5, 5)


def test_registers_without_a_message_take_no_room_and_are_never_refused() -> None:
    backlog = Backlog(BacklogConfig(max_messages=1), Brake({}))
    note = InboundMessage(None, "", "", registers=(("expected", 5),))
    first = sized(1)
    first.body = b"x"
    assert backlog.admit([first, note]) == ([first, note], [])
    assert (backlog.messages, backlog.bytes) == (1, 1)
    assert backlog.admit([note, first]) == ([note], [first])
