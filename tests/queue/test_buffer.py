"""Which messages a commit takes of those that wait."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from medagent.queue.buffer import MOST_BYTES, MOST_PASSES, Buffer
from medagent.testing.queue import message
from medagent.types import InboundMessage

LARGE = "x" * (MOST_BYTES + 1)
HALF = "x" * (MOST_BYTES // 2)


def on(channel: str, control_id: str, body: str = "") -> InboundMessage:
    made = message(control_id, body)
    made.channel = channel
    return made


def taken(buffer: Buffer) -> list[list[str]]:
    """All that it gives, commit by commit."""
    batches = []
    while buffer:
        batches.append([one.control_id for one in buffer.take()])
    return batches


def test_small_ones_leave_in_order_so_many_at_a_time() -> None:
    buffer = Buffer(2)
    buffer.add([on("a", "1"), on("b", "2")])
    buffer.add([on("a", "3")])
    assert taken(buffer) == [["1", "2"], ["3"]]


def test_others_go_before_a_large_one_and_those_of_its_channel_do_not() -> None:
    buffer = Buffer(100)
    buffer.add([on("a", "1"), on("a", "large", LARGE), on("a", "2"), on("b", "3"), on("b", "4")])
    assert taken(buffer) == [["1", "3", "4"], ["large"], ["2"]]


def test_large_ones_go_one_by_one() -> None:
    buffer = Buffer(100)
    buffer.add([on("a", "1", LARGE), on("b", "2", LARGE), on("a", "3", LARGE)])
    assert taken(buffer) == [["1"], ["2"], ["3"]]


def test_what_fits_together_goes_together() -> None:
    buffer = Buffer(100)
    buffer.add([on("a", "1", HALF), on("a", "2", HALF), on("a", "3", HALF), on("b", "4")])
    assert taken(buffer) == [["1", "2"], ["3", "4"]]


def test_a_large_one_waits_for_few_others_however_many_come() -> None:
    buffer = Buffer(1)
    buffer.add([on("a", "large", LARGE), *(on("b", str(number)) for number in range(10))])
    assert taken(buffer)[MOST_PASSES] == ["large"]


def test_the_parts_of_one_that_stands_for_them_count() -> None:
    whole = message("whole")
    whole.parts = (on("a", "1", HALF), on("a", "2", HALF + "x"))
    buffer = Buffer(100)
    buffer.add([whole, on("a", "3"), on("b", "4")])
    assert taken(buffer) == [["4"], ["whole"], ["3"]]


sizes = st.sampled_from([0, 1, MOST_BYTES // 3, MOST_BYTES, MOST_BYTES + 1])
arrivals = st.lists(st.lists(st.tuples(st.sampled_from("abc"), sizes), max_size=6), max_size=8)


@given(arrivals, st.integers(1, 5))
def test_each_leaves_once_in_the_order_of_its_channel_and_none_waits_for_ever(
    reads: list[list[tuple[str, int]]], most: int
) -> None:
    buffer = Buffer(most)
    came: list[InboundMessage] = []
    left: list[InboundMessage] = []

    def take() -> None:
        oldest, before = buffer.oldest, len(buffer)
        batch = buffer.take()
        assert 1 <= len(batch) <= most
        assert len(batch) == before - len(buffer)
        assert len(batch) == 1 or sum(one.size for one in batch) <= MOST_BYTES
        waited[oldest] += 1
        assert waited[oldest] <= MOST_PASSES + 1
        left.extend(batch)

    waited: Counter[InboundMessage] = Counter()
    for read in reads:
        some = [on(channel, "", "x" * size) for channel, size in read]
        came += some
        buffer.add(some)
        if buffer:
            take()
    while buffer:
        take()
    for channel in "abc":
        assert [one for one in left if one.channel == channel] == [one for one in came if one.channel == channel]
