"""What a sender waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.answers import Expect
from medagent_hl7.message import Header
from medagent_hl7.owed import APPLICATION_CODES, COMMIT_CODES


@pytest.mark.parametrize(
    ("expect", "codes", "met"),
    [
        (Expect.FIRST, [], False),
        (Expect.FIRST, ["CA"], True),
        (Expect.FIRST, ["AE"], True),
        (Expect.APPLICATION, [], False),
        (Expect.APPLICATION, ["CA"], False),
        (Expect.APPLICATION, ["AA"], True),
        (Expect.APPLICATION, ["CA", "AR"], True),
        (Expect.APPLICATION, ["CE"], True),
        (Expect.BOTH, ["CA"], False),
        (Expect.BOTH, ["AA"], False),
        (Expect.BOTH, ["CA", "AE"], True),
        (Expect.BOTH, ["AA", "CA"], True),
        (Expect.BOTH, ["CR"], True),
        (Expect.BOTH, ["XX", "CA"], False),
        (Expect.NONE, [], True),
    ],
)
def test_what_is_enough(expect: Expect, codes: list[str], met: bool) -> None:
    assert expect.is_met(codes) is met


@given(st.lists(st.sampled_from((*COMMIT_CODES, *APPLICATION_CODES))), st.sampled_from(Expect))
def test_more_answers_never_make_it_less(codes: list[str], expect: Expect) -> None:
    met = [expect.is_met(codes[:count]) for count in range(len(codes) + 1)]
    assert met == sorted(met)


@pytest.mark.parametrize(
    ("accept", "application", "due"),
    [
        ("", "", Expect.APPLICATION),
        ("AL", "", Expect.APPLICATION),
        ("AL", "AL", Expect.APPLICATION),
        ("NE", "AL", Expect.APPLICATION),
        ("AL", "ER", Expect.APPLICATION),
        ("AL", "NE", Expect.FIRST),
        ("", "NE", Expect.FIRST),
        ("NE", "NE", Expect.NONE),
        ("ne ", " ne", Expect.NONE),
    ],
)
def test_what_is_due(accept: str, application: str, due: Expect) -> None:
    msh = rf"MSH|^~\&|A|B|C|D|20260302||ADT^A01|M1|P|2.5|||{accept}|{application}"
    assert Expect.due(Header.parse(msh.encode())) is due
