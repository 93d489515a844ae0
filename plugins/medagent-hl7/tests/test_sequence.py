"""The sequence number protocol against the table of HL7 v2.5.1, chapter 2.10.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.types import State
from medagent_hl7.sequence import (
    LINKS,
    UNKNOWN,
    Failed,
    Link,
    Verdict,
    frozen_links,
    parse_number,
    read_link,
    to_registers,
)

AFTER_7 = Link(8)
FROZEN = Link(8, frozen=True)


@pytest.mark.parametrize(
    ("link", "number", "verdict", "after"),
    [
        (AFTER_7, "8", Verdict.EXPECTED, Link(9)),
        (AFTER_7, "+8", Verdict.EXPECTED, Link(9)),
        (AFTER_7, "0", Verdict.START, AFTER_7),
        (AFTER_7, "-1", Verdict.RESYNCHRONIZE, Link()),
        (AFTER_7, "7", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "9", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "6", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "-2", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "eight", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "8.5", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "9" * 5000, Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "²", Verdict.UNEXPECTED, FROZEN),
        (FROZEN, "8", Verdict.FROZEN, FROZEN),
        (FROZEN, "9", Verdict.FROZEN, FROZEN),
        (FROZEN, "0", Verdict.START, AFTER_7),
        (FROZEN, "-1", Verdict.RESYNCHRONIZE, Link()),
        (Link(), "1", Verdict.EXPECTED, Link(2)),
        (Link(), "4711", Verdict.EXPECTED, Link(4712)),
        (Link(), "0", Verdict.START, Link()),
        (Link(), "-5", Verdict.UNEXPECTED, Link(frozen=True)),
    ],
)
def test_the_table(link: Link, number: str, verdict: Verdict, after: Link) -> None:
    assert link.receive(parse_number(number)) == (verdict, after)


@pytest.mark.parametrize("link", [AFTER_7, FROZEN, Link()])
@pytest.mark.parametrize("number", [-1, 0, 3, 7, 8, 9, None])
def test_what_is_stored_already_moves_nothing(link: Link, number: int | None) -> None:
    assert link.receive(number, State.RECEIVED) == (Verdict.REPEATED, link)


def test_what_the_server_has_refused_may_be_tried_again_under_its_number() -> None:
    assert AFTER_7.receive(5, State.REJECTED) == (Verdict.REPEATED, AFTER_7)
    assert FROZEN.receive(7, State.DEAD_LETTER) == (Verdict.REPEATED, FROZEN)
    assert AFTER_7.receive(8, State.REJECTED) == (Verdict.EXPECTED, Link(9)), "the link was set back"
    assert AFTER_7.receive(9, State.REJECTED) == (Verdict.UNEXPECTED, FROZEN)


@pytest.mark.parametrize(
    ("link", "failed", "number", "verdict"),
    [
        (AFTER_7, (8, 10), 8, Verdict.EXPECTED),
        (AFTER_7, (8, 8), 9, Verdict.INTERRUPTED),
        (AFTER_7, (8, 10), 11, Verdict.INTERRUPTED),
        (Link(9), (8, 10), 11, Verdict.INTERRUPTED),
        (AFTER_7, (8, 10), 7, Verdict.UNEXPECTED),
        (Link(11), (8, 10), 12, Verdict.UNEXPECTED),
        (FROZEN, (8, 10), 9, Verdict.FROZEN),
        (Link(), (5, 6), 5, Verdict.EXPECTED),
        (Link(), (5, 6), 6, Verdict.INTERRUPTED),
        (AFTER_7, (8, 10), 0, Verdict.START),
        (AFTER_7, (8, 10), None, Verdict.UNEXPECTED),
    ],
)
def test_numbers_after_one_that_could_not_be_stored(link: Link, failed: Failed, number: int | None, verdict: Verdict) -> None:
    assert link.receive(number, failed=failed)[0] is verdict


class Specified:
    """The table of the standard in other words: the last number accepted, and whether an operator is waited for."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.frozen = False

    def receive(self, number: str) -> Verdict:
        if number == "0":
            self.frozen = False
            return Verdict.START
        if number == "-1":
            self.last, self.frozen = None, False
            return Verdict.RESYNCHRONIZE
        if self.frozen:
            return Verdict.FROZEN
        if int(number) > 0 and (self.last is None or int(number) == self.last + 1):
            self.last = int(number)
            return Verdict.EXPECTED
        self.frozen = True
        return Verdict.UNEXPECTED


numbers = st.one_of(st.sampled_from(["0", "-1", "-2"]), st.integers(1, 6).map(str))


@given(st.lists(numbers, max_size=40))
def test_any_history_follows_the_table(history: list[str]) -> None:
    specified, registers = Specified(), {"number": 5}
    registers |= dict(to_registers(registers, "k", Link(1)))
    specified.last = 0
    for number in history:
        verdict, link = read_link(registers, "k").receive(parse_number(number))
        assert verdict is specified.receive(number)
        # what is kept on disk is all there is
        registers |= dict(to_registers(registers, "k", link))
        assert read_link(registers, "k") == link
        assert link.expected == (UNKNOWN if specified.last is None else specified.last + 1)
        assert link.frozen is specified.frozen
        assert frozen_links(registers) == (["k"] if link.frozen else [])
    assert registers[LINKS] == 1


def test_a_link_is_kept_from_its_first_number_on() -> None:
    assert to_registers({}, "k", Link()) == ()
    assert to_registers({}, "k", Link(frozen=True)) == ()
    assert to_registers({LINKS: 4}, "k", Link(6)) == ((LINKS, 5), ("link-k", 6))
    assert to_registers({LINKS: 5, "link-k": 6}, "k", Link(7)) == (("link-k", 7),), "one register for a link that runs"
