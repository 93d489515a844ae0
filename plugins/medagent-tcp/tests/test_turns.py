"""The order of acknowledgments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medagent_tcp.turns import Turns


@given(st.permutations(range(8)))
def test_replies_leave_in_the_order_of_the_frames(order: list[int]) -> None:
    turns = Turns()
    for frame in range(8):
        turns.take(frame)
    left = b""
    for count, frame in enumerate(order, 1):
        left += turns.decide(frame, b"%d" % frame)
        assert len(left) == next((frame for frame in range(8) if frame not in order[:count]), 8)
    assert left == b"01234567"


def test_nothing_is_said_of_a_frame_that_was_not_taken_or_has_left() -> None:
    turns = Turns()
    turns.take("a")
    assert turns.decide("x", b"X") == b""
    assert turns.decide("a", b"A") == b"A"
    assert turns.decide("a", b"A") == b""
