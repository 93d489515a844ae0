"""An import that does not end is interrupted, whatever it makes of it; nothing is left of the limit."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from medagent.errors import PluginTimeout
from medagent.plugins import time_limit
from medagent.plugins.time_limit import within


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Whatever limit the test itself is under comes back."""
    handler, timer = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def hang() -> None:
    while True:
        time.sleep(60)


def swallow_once() -> None:
    with contextlib.suppress(BaseException):
        hang()
    hang()


def swallow_and_end() -> None:
    with contextlib.suppress(BaseException):
        hang()


def turn_into_an_error() -> None:
    try:
        hang()
    except BaseException:  # noqa: BLE001  as bad plugins do
        raise ValueError from None


@pytest.mark.parametrize("work", [hang, swallow_once, swallow_and_end, turn_into_an_error])
def test_what_hangs_is_interrupted(work: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "REPEAT_SECONDS", 0.02)
    assert callable(work)
    with pytest.raises(PluginTimeout, match=r"more than 0.02 s \(it was in test_time_limit.py, line \d+\)"):
        within(0.02, work)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_ends_in_time_gives_its_result_or_its_error() -> None:
    def fail() -> None:
        raise SystemExit(3)

    assert within(60, lambda: 5) == 5
    with pytest.raises(SystemExit):
        within(60, fail)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_interrupt_of_the_operator_passes() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within(60, interrupted)


def test_handler_and_timer_of_the_program_are_as_before() -> None:
    rung = []

    def ring(_number: int, _frame: object) -> None:
        rung.append(True)

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 60, 7)
    within(30, lambda: None)
    assert signal.getsignal(signal.SIGALRM) is ring
    delay, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    assert interval == 7
    assert 50 < delay <= 60
    signal.raise_signal(signal.SIGALRM)
    assert rung == [True]


def test_in_another_thread_there_is_no_limit() -> None:
    results: list[tuple[float, float]] = []
    thread = threading.Thread(
        target=lambda: results.append(within(0.001, lambda: signal.getitimer(signal.ITIMER_REAL))), daemon=True
    )
    thread.start()
    thread.join(10)
    assert results == [(0.0, 0.0)]
