"""The search for the message that the server cannot serve, step by step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medagent.queue.caution import GRACE, LOSSES_ALONE, LOSSES_TOGETHER, Caution
from medagent.types import InboundMessage


def flying(*callbacks: str) -> list[InboundMessage]:
    return [InboundMessage(None, "", "", channel=name[0], seq=ord(name[-1]), callback=name) for name in callbacks]


def started(*callbacks: str) -> Caution:
    caution = Caution()
    assert caution.failed(flying(*callbacks), 0.0) is None
    assert caution.active
    return caution


def test_in_the_grace_nothing_goes_and_errors_mean_nobody() -> None:
    caution = started("ax")
    assert caution.next_channel is None
    assert caution.failed(flying("ax"), 0.5) is None
    assert caution.failed(flying("ax"), 0.6) is None
    assert not caution.grace_ends(GRACE - 0.01)
    assert caution.grace_ends(GRACE)
    assert not caution.grace_ends(GRACE), "it ends once"
    assert caution.next_channel == "a"


def test_it_ends_when_each_suspect_has_an_answer() -> None:
    caution = started("by", "ax")
    assert caution.grace_ends(GRACE)
    assert caution.next_channel == "a", "the oldest first"
    caution.settled(ord("x"))
    assert caution.next_channel == "b"
    caution.put_off(ord("y"))
    assert not caution.active


def test_who_fails_alone_twice_is_guilty() -> None:
    caution = started("ax", "ay")
    caution.grace_ends(GRACE)
    alone = flying("ax")
    assert caution.failed(alone, GRACE) is None
    assert caution.failed(alone, GRACE) is alone[0]
    caution.settled(ord("x"))
    assert caution.failed(flying("ay"), GRACE) is None, "failures are counted for each message by itself"


def test_one_late_error_harms_nobody() -> None:
    caution = started("ax", "ay")
    caution.grace_ends(GRACE)
    assert caution.failed(flying("ax"), GRACE) is None
    caution.settled(ord("x"))
    assert caution.failed(flying("ay"), GRACE) is None


def test_it_outlives_the_connection() -> None:
    caution = started("ax", "ay")
    assert caution.disconnected(flying("ax", "ay")) is None
    assert caution.next_channel == "a", "no answer will come any more: the grace is over"
    caution.failed(flying("ax"), 5.0)
    assert caution.disconnected(flying("ax")) is None
    assert caution.failed(guilty := flying("ax"), 9.0) is guilty[0]


def test_connections_lost_in_a_row_open_it() -> None:
    caution = Caution()
    caution.disconnected([])
    caution.disconnected(flying("ax", "ay"))
    caution.answered()
    caution.disconnected(flying("ax", "ay"))
    assert not caution.active, "there was an answer in between"
    caution.disconnected(flying("ax", "ay"))
    assert caution.next_channel == "a"


def test_what_ends_the_connection_each_time_is_dangerous() -> None:
    caution = Caution()
    for _ in range(LOSSES_TOGETHER):
        caution.disconnected(flying("ax", "ay"))
    alone = flying("ax")
    verdicts = [caution.disconnected(alone) for _ in range(LOSSES_ALONE)]
    assert verdicts == [None] * (LOSSES_ALONE - 1) + alone
    caution.put_off(ord("x"))
    caution.settled(ord("y"))
    assert not caution.active
    assert caution.is_dangerous(ord("x"))
    caution.suspect(ord("x"), "a")
    assert caution.next_channel == "a"
    assert caution.disconnected(alone) == alone[0], "known by now: once is enough"
    caution.settled(ord("x"))
    assert not caution.is_dangerous(ord("x"))


def test_a_channel_with_nothing_left_is_forgotten() -> None:
    caution = started("ax", "by")
    caution.grace_ends(GRACE)
    caution.forget("a")
    assert caution.next_channel == "b"
    caution.forget("b")
    assert not caution.active


@given(st.integers(1, 8), st.sets(st.integers(0, 7)))
def test_exactly_the_guilty_are_found(count: int, bad: set[int]) -> None:
    names = [f"a{chr(ord('a') + number)}" for number in range(count)]
    guilty = {names[number] for number in bad if number < count}
    caution = started(*names)
    caution.grace_ends(GRACE)
    rejected = []
    for name in names:
        while caution.active and name not in rejected:
            if name not in guilty:
                caution.settled(ord(name[1]))
                break
            if (verdict := caution.failed(flying(name), GRACE)) is not None:
                rejected.append(verdict.callback)
                caution.settled(verdict.seq)
    assert not caution.active
    assert set(rejected) == guilty
