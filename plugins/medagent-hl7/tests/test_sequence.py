"""The sequence number protocol against the table of HL7 v2.5.1, chapter 2.10.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.sequence import UNKNOWN, Link, Verdict, from_registers, key_of, short_hash, to_registers

AFTER_7 = Link(8, short_hash("seven"))
FROZEN = Link(8, short_hash("seven"), frozen=True)


@pytest.mark.parametrize(
    ("link", "number", "control_id", "verdict", "after"),
    [
        (AFTER_7, "8", "eight", Verdict.EXPECTED, Link(9, short_hash("eight"))),
        (AFTER_7, "+8", "eight", Verdict.EXPECTED, Link(9, short_hash("eight"))),
        (AFTER_7, "", "x", Verdict.UNNUMBERED, AFTER_7),
        (AFTER_7, "0", "x", Verdict.START, AFTER_7),
        (AFTER_7, "-1", "x", Verdict.RESYNCHRONIZE, Link()),
        (AFTER_7, "7", "seven", Verdict.REPEATED, AFTER_7),
        (AFTER_7, "7", "other", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "9", "nine", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "6", "six", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "-2", "x", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "eight", "x", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "8.5", "x", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "9" * 5000, "x", Verdict.UNEXPECTED, FROZEN),
        (AFTER_7, "²", "x", Verdict.UNEXPECTED, FROZEN),
        (FROZEN, "8", "eight", Verdict.FROZEN, FROZEN),
        (FROZEN, "9", "nine", Verdict.FROZEN, FROZEN),
        (FROZEN, "7", "seven", Verdict.REPEATED, FROZEN),
        (FROZEN, "", "x", Verdict.UNNUMBERED, FROZEN),
        (FROZEN, "0", "x", Verdict.START, AFTER_7),
        (FROZEN, "-1", "x", Verdict.RESYNCHRONIZE, Link()),
        (Link(), "1", "one", Verdict.EXPECTED, Link(2, short_hash("one"))),
        (Link(), "4711", "x", Verdict.EXPECTED, Link(4712, short_hash("x"))),
        (Link(), "0", "x", Verdict.START, Link()),
        (Link(), "-5", "x", Verdict.UNEXPECTED, Link(frozen=True)),
    ],
)
def test_the_table(link: Link, number: str, control_id: str, verdict: Verdict, after: Link) -> None:
    assert link.receive(number, control_id) == (verdict, after)


class Specified:
    """The table of the standard in other words: the last number accepted, and whether an operator is waited for."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.last_id = ""
        self.frozen = False

    def receive(self, number: str, control_id: str) -> Verdict:
        if number == "":
            return Verdict.UNNUMBERED
        if number == "0":
            self.frozen = False
            return Verdict.START
        if number == "-1":
            self.last, self.frozen = None, False
            return Verdict.RESYNCHRONIZE
        if self.last is not None and (int(number), control_id) == (self.last, self.last_id):
            return Verdict.REPEATED
        if self.frozen:
            return Verdict.FROZEN
        if int(number) > 0 and (self.last is None or int(number) == self.last + 1):
            self.last, self.last_id = int(number), control_id
            return Verdict.EXPECTED
        self.frozen = True
        return Verdict.UNEXPECTED


numbers = st.one_of(st.sampled_from(["", "0", "-1", "-2"]), st.integers(1, 6).map(str))


@given(st.lists(st.tuples(numbers, st.sampled_from("ab")), max_size=40))
def test_any_history_follows_the_table(history: list[tuple[str, str]]) -> None:
    specified, link = Specified(), Link()
    for number, control_id in history:
        verdict, link = link.receive(number, control_id)
        assert verdict is specified.receive(number, control_id)
        assert link.expected == (UNKNOWN if specified.last is None else specified.last + 1)
        assert link.frozen is specified.frozen
        # what is kept on disk is all there is
        assert from_registers({**dict(to_registers("k", link)), "number": 5}) == {"k": link}


def test_a_key_tells_nothing_of_the_sender() -> None:
    sender = ("LAB", "NORTH", "EHR", "MAIN")
    assert key_of(sender) == key_of(sender)
    assert len(key_of(sender)) == 16
    assert key_of(sender) != key_of(("LABN", "ORTH", "EHR", "MAIN"))
    assert "LAB" not in key_of(sender)


@given(st.text())
def test_hashes_fit_a_register(text: str) -> None:
    assert 0 < short_hash(text) < 2**63
