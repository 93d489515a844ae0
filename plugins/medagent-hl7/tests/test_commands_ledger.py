"""The load test's account: nothing wrong goes unnoticed, and nothing right is blamed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent_hl7.answers import Expect
from medagent_hl7.commands.ledger import Latency, Ledger, latency

PREFIX = "LT1"


def control_id(number: int) -> str:
    return f"{PREFIX}{number:09}"


WAITING = (Expect.FIRST, Expect.APPLICATION, Expect.BOTH)


def ledger_of(count: int, expect: Expect = Expect.FIRST, connections: int = 1) -> Ledger:
    """A ledger of `count` messages, sent in turn over the connections, one a second from 0 on."""
    ledger = Ledger(PREFIX, expect, connections)
    for number in range(count):
        ledger.sent(number % connections, due=float(number), now=number + 0.001)
    return ledger


def answer(ledger: Ledger, number: int, *codes: str, connection: int = 0, after: float = 0.5) -> None:
    for code in codes:
        ledger.answered(connection, code, control_id(number), number + after)


def test_all_well() -> None:
    ledger = ledger_of(3)
    for number in range(3):
        answer(ledger, number, "AA", after=0.010)
    result = ledger.result()
    assert result.clean
    assert (result.sent, result.answered, result.missing) == (3, 3, 0)
    assert result.seconds == 2.01
    assert result.rate == round(3 / 2.01, 1)
    assert result.commit is None
    assert result.application == Latency(3, 10.0, 10.0, 10.0, 10.0, 10.0)
    assert result.lateness == Latency(3, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_nothing_sent() -> None:
    result = ledger_of(0).result()
    assert result.clean
    assert (result.sent, result.rate, result.seconds, result.commit, result.lateness) == (0, 0.0, 0.0, None, None)


def test_what_has_not_come_is_missing() -> None:
    ledger = ledger_of(2)
    answer(ledger, 0, "AA")
    assert ledger.outstanding == [1]
    result = ledger.result()
    assert (result.answered, result.missing) == (1, 1)
    assert not result.clean


@pytest.mark.parametrize(
    ("expect", "codes", "missing"),
    [
        (Expect.FIRST, ["CA"], 0),
        (Expect.APPLICATION, ["CA"], 1),
        (Expect.APPLICATION, ["AA"], 0),
        (Expect.BOTH, ["AA"], 1),
        (Expect.BOTH, ["CA"], 1),
        (Expect.BOTH, ["AA", "CA"], 0),
    ],
)
def test_what_is_expected_decides(expect: Expect, codes: list[str], missing: int) -> None:
    ledger = ledger_of(1, expect)
    answer(ledger, 0, *codes)
    assert ledger.outstanding == [missing]
    assert ledger.result().missing == missing


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "LT1",
        "OTHER",
        "000000000",
        "LT10",
        "LT10000000000",
        "LT2000000000",
        "LT1000000001",
        "LT1-00000000",
        "LT1" + 9 * "\u0660",
        "LT1000000000 ",
        "xLT1000000000",
        "LT1" + 5000 * "0",
    ],
)
def test_a_control_id_that_was_not_sent_is_wrong(wrong: str) -> None:
    ledger = ledger_of(1)
    ledger.answered(0, "AA", wrong, 1.0)
    assert (ledger.wrong, ledger.answered_count) == (1, 0)


@pytest.mark.parametrize("code", ["", "aa", "XX", "AAA"])
def test_an_unknown_code_is_wrong(code: str) -> None:
    ledger = ledger_of(1)
    answer(ledger, 0, code)
    assert (ledger.wrong, ledger.answered_count) == (1, 0)


def test_an_answer_on_another_connection_is_wrong() -> None:
    ledger = ledger_of(2, connections=2)
    answer(ledger, 0, "AA", connection=1)
    assert (ledger.wrong, ledger.outstanding) == (1, [1, 1])


def test_a_second_acknowledgment_of_a_kind_is_a_duplicate() -> None:
    ledger = ledger_of(1, Expect.BOTH)
    answer(ledger, 0, "CA", "CA", "AA", "AE")
    result = ledger.result()
    assert (result.duplicate, result.answered, result.negative) == (2, 1, {})
    assert ledger.outstanding == [0]


def test_negative_answers_are_counted_by_code_and_end_the_wait() -> None:
    ledger = ledger_of(4, Expect.BOTH)
    answer(ledger, 0, "CE")
    answer(ledger, 1, "CR")
    answer(ledger, 2, "CA", "AE")
    answer(ledger, 3, "CA", "AR")
    result = ledger.result()
    assert result.negative == {"CE": 1, "CR": 1, "AE": 1, "AR": 1}
    assert (result.missing, result.clean) == (0, False)


def test_what_cannot_be_read_is_wrong() -> None:
    ledger = ledger_of(0)
    ledger.unreadable()
    ledger.unreadable(2)
    assert ledger.result().wrong == 3


@pytest.mark.parametrize("fault", ["missing", "wrong", "duplicate"])
def test_each_fault_spoils_the_result(fault: str) -> None:
    clean = ledger_of(0).result()
    assert not replace(clean, **{fault: 1}).clean


@given(st.permutations([(number, code) for number in range(6) for code in ("CA", "AA")]), st.sampled_from(WAITING))
def test_the_order_of_the_answers_does_not_matter(answers: Sequence[tuple[int, str]], expect: Expect) -> None:
    ledger = ledger_of(6, expect, connections=3)
    for number, code in answers:
        ledger.answered(number % 3, code, control_id(number), 10.0)
    result = ledger.result()
    assert result.clean
    assert (result.answered, ledger.outstanding) == (6, [0, 0, 0])


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.sampled_from(["CA", "CE", "AA", "AR", "??"]))),
    st.sampled_from(WAITING),
)
def test_every_answer_counts_once(answers: list[tuple[int, int, str]], expect: Expect) -> None:
    ledger = ledger_of(5, expect, connections=2)
    for number, connection, code in answers:
        ledger.answered(connection, code, control_id(number), 10.0)
    result = ledger.result()
    counted = sum(figures.count for figures in (result.commit, result.application) if figures)
    assert counted + result.wrong + result.duplicate == len(answers)
    assert result.answered + sum(ledger.outstanding) == result.answered + result.missing == 5


def test_latencies_are_measured_values_by_nearest_rank() -> None:
    values = [number / 1000 for number in range(1000, 0, -1)]
    assert latency(values) == Latency(1000, 500.0, 900.0, 990.0, 999.0, 1000.0)
    assert latency([0.002]) == Latency(1, 2.0, 2.0, 2.0, 2.0, 2.0)
    assert latency([]) is None
