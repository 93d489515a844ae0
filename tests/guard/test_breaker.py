"""The breaker: when it opens, for how long, and what closes it."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from medagent.guard.breaker import (
    BLOCKED_COOL_DOWN,
    FAULTS_IN_A_ROW,
    FIRST_COOL_DOWN,
    LONGEST_COOL_DOWN,
    MEMORY,
    Breaker,
)


def fail(breaker: Breaker, now: float, what: str = "put", times: int = FAULTS_IN_A_ROW) -> None:
    for _ in range(times):
        breaker.failed(what, now, "put: ValueError")


def test_faults_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker()
    fail(breaker, 0, times=FAULTS_IN_A_ROW - 1)
    breaker.succeeded("put")
    fail(breaker, 0, times=FAULTS_IN_A_ROW - 1)
    assert breaker.allows(0)
    assert breaker.failed("put", 0, "put: ValueError")
    assert not breaker.allows(0)
    assert (breaker.reason, breaker.seconds_left(1)) == ("put: ValueError", FIRST_COOL_DOWN - 1)


def test_a_success_of_another_method_is_none_of_this_one() -> None:
    breaker = Breaker()
    for _ in range(FAULTS_IN_A_ROW):
        breaker.failed("committed", 0, "")
        breaker.succeeded("address")
    assert breaker.open


def test_half_open_one_fault_opens_it_again_for_twice_as_long_and_a_success_closes_it() -> None:
    breaker, now = Breaker(), 0.0
    fail(breaker, now)
    for cool_down in (10.0, 20.0, 40.0, 80.0, 160.0, LONGEST_COOL_DOWN, LONGEST_COOL_DOWN):
        now += breaker.seconds_left(now)
        assert breaker.allows(now)
        assert breaker.failed("put", now, "")
        assert breaker.seconds_left(now) == cool_down
    now += breaker.seconds_left(now)
    assert breaker.allows(now)
    breaker.succeeded("put")
    assert not breaker.troubled
    assert not breaker.failed("put", now, "")


@pytest.mark.parametrize(("pause", "cool_down"), [(1.0, 2 * FIRST_COOL_DOWN), (MEMORY, FIRST_COOL_DOWN)])
def test_an_opening_soon_after_the_last_one_is_for_longer(pause: float, cool_down: float) -> None:
    breaker = Breaker()
    fail(breaker, 0)
    now = FIRST_COOL_DOWN + pause
    breaker.allows(now)
    breaker.succeeded("put")
    fail(breaker, now)
    assert breaker.seconds_left(now) == cool_down


def test_a_call_that_blocks_opens_it_at_once_and_for_longer() -> None:
    breaker = Breaker()
    assert breaker.blocked(0, "blocked")
    assert not breaker.blocked(0, "blocked"), "it was open"
    assert breaker.seconds_left(0) >= BLOCKED_COOL_DOWN


class AnyCourse(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.opened_at: float | None = None
        self.in_a_row = {"a": 0, "b": 0}

    def open(self) -> None:
        self.opened_at = self.now
        self.in_a_row = {"a": 0, "b": 0}

    @rule(seconds=st.floats(0, 2 * LONGEST_COOL_DOWN))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.allows(self.now))
    @rule(what=st.sampled_from("ab"))
    def succeed(self, what: str) -> None:
        self.breaker.succeeded(what)
        self.in_a_row[what] = 0
        assert not self.breaker.half_open

    @precondition(lambda self: self.breaker.allows(self.now))
    @rule(what=st.sampled_from("ab"))
    def fail(self, what: str) -> None:
        half_open = self.breaker.half_open
        self.in_a_row[what] += 1
        opened = self.breaker.failed(what, self.now, "")
        assert opened == (half_open or self.in_a_row[what] == FAULTS_IN_A_ROW)
        if opened:
            self.open()

    @rule()
    def block(self) -> None:
        self.breaker.blocked(self.now, "")
        self.open()
        assert self.breaker.seconds_left(self.now) >= BLOCKED_COOL_DOWN - 0.001

    @invariant()
    def it_is_open_for_a_bounded_time(self) -> None:
        if self.breaker.open:
            assert self.opened_at is not None
            assert self.breaker.seconds_left(self.opened_at) <= LONGEST_COOL_DOWN + 0.001
            assert self.breaker.seconds_left(self.opened_at) >= FIRST_COOL_DOWN - 0.001
            assert not Breaker.allows(self.breaker, self.opened_at)


TestAnyCourse = AnyCourse.TestCase


def test_one_device_cannot_open_it_and_several_in_a_row_do() -> None:
    breaker = Breaker()
    for _ in range(3 * FAULTS_IN_A_ROW):
        assert not breaker.failed("received", 0, "", device="10.0.0.7")
    breaker.devices_succeeded()
    assert not breaker.failed("received", 0, "", device="10.0.0.8")
    for _ in range(FAULTS_IN_A_ROW - 2):
        assert not breaker.failed("received", 0, "", device="10.0.0.7")
    assert breaker.failed("received", 0, "", device="10.0.0.7")


def test_one_device_does_not_open_it_anew_when_it_is_half_open() -> None:
    breaker = Breaker()
    fail(breaker, 0)
    assert breaker.allows(FIRST_COOL_DOWN)
    assert not breaker.failed("received", FIRST_COOL_DOWN, "", device="10.0.0.7")
    assert breaker.failed("put", FIRST_COOL_DOWN, "")
