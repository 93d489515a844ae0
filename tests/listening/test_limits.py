"""What a TCP channel allows its devices, and who has waited too long."""

from __future__ import annotations

import pytest

from medagent.config.model import Value
from medagent.listening.limits import Limits, Overdue, limit_parameters


def test_defaults() -> None:
    declared = {item.name: item.default for item in limit_parameters("line") if item.default is not None}
    assert len(declared) == 5
    assert Limits.from_parameters(declared) == Limits.from_parameters({}) == Limits()


def test_times_are_seconds() -> None:
    parameters: dict[str, Value] = {"frameIdleTimeoutMs": 1500, "idleTimeoutMs": 250, "writeTimeoutMs": 2000}
    limits = Limits.from_parameters(parameters | {"maxConnections": 3, "maxBufferedBytes": 4096})
    assert limits == Limits(max_connections=3, max_buffered_bytes=4096, frame_idle=1.5, idle=0.25, write=2.0)


@pytest.mark.parametrize(
    ("inside", "silent", "blocked", "overdue"),
    [
        (False, 5.9, 0.0, None),
        (False, 6.1, 0.0, Overdue.IDLE),
        (True, 2.9, 0.0, None),
        (True, 3.1, 0.0, Overdue.FRAME),
        (False, 0.0, 8.9, None),
        (True, 0.0, 9.1, Overdue.WRITE),
    ],
)
def test_overdue(inside: bool, silent: float, blocked: float, overdue: Overdue | None) -> None:
    limits = Limits(frame_idle=3.0, idle=6.0, write=9.0)
    assert limits.overdue(inside=inside, silent=silent, blocked=blocked) is overdue


def test_idle_connections_stay_by_default() -> None:
    assert Limits().overdue(inside=False, silent=1e9, blocked=0.0) is None


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [(Limits(), 1.0), (Limits(frame_idle=2.0), 0.5), (Limits(idle=1.0), 0.25), (Limits(write=0.001), 0.01)],
)
def test_sweeps_are_as_frequent_as_the_shortest_time_needs(limits: Limits, seconds: float) -> None:
    assert limits.sweep_seconds == seconds
