"""Messages a minute: the first at once, the others evenly spaced, none lost and none overtaken."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.framing import Empty, Frame, FrameEvent
from medagent_hl7.pacing import Pacer


def test_first_at_once_then_one_per_spacing() -> None:
    pacer = Pacer(1.0)
    a, b, c = (Frame(body) for body in (b"a", b"b", b"c"))
    pacer.hold([a, b, Empty(), c])
    assert pacer.release(100.0) == [a]
    assert pacer.holds
    assert pacer.delay(100.25) == 0.75
    assert pacer.release(100.9) == []
    assert pacer.release(101.0) == [b, Empty()]
    # late by 4 seconds: nothing is made up for
    assert pacer.release(106.0) == [c]
    assert not pacer.holds
    pacer.hold([a])
    assert pacer.release(106.5) == []
    assert pacer.release(107.0) == [a]


@given(st.lists(st.tuples(st.floats(0, 5), st.lists(st.sampled_from([Frame(b"a"), Frame(b"b"), Empty()])))))
def test_nothing_is_lost_overtaken_or_too_early(reads: list[tuple[float, list[FrameEvent]]]) -> None:
    pacer = Pacer(1.0)
    now = 0.0
    passed: list[FrameEvent] = []
    times: list[float] = []

    def release() -> None:
        released = pacer.release(now)
        passed.extend(released)
        times.extend(now for event in released if isinstance(event, Frame))

    for pause, events in reads:
        now += pause
        pacer.hold(events)
        release()
    while pacer.holds:
        now += max(pacer.delay(now), 1e-6)
        release()
    assert passed == [event for _, events in reads for event in events]
    assert all(later - earlier >= 1.0 - 1e-5 for earlier, later in itertools.pairwise(times))
