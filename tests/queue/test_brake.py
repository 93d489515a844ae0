"""Channels read exactly while nobody holds the brake."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medagent.queue.brake import Brake
from medagent.testing.doubles import RecordingChannel


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=30))
def test_channels_pause_while_somebody_holds_it(steps: list[tuple[str, bool]]) -> None:
    channels = {"adt": RecordingChannel(), "oru": RecordingChannel()}
    brake = Brake(channels)
    holders: set[str] = set()
    expected: list[bool] = []
    for holder, holds in steps:
        before = bool(holders)
        if holds:
            brake.hold(holder)
            holders.add(holder)
        else:
            brake.release(holder)
            holders.discard(holder)
        expected += [bool(holders)] if bool(holders) != before else []
        assert [channel.paused for channel in channels.values()] == [expected, expected], "told of changes only"
