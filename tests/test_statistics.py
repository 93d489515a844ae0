"""Counts and latencies."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medagent.statistics import Histogram, Statistics
from medagent.types import InboundMessage, State


@settings(deadline=None)
@given(st.lists(st.floats(0.00005, 280.0), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_right_to_five_percent(durations: list[float], fraction: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    exact = sorted(durations)[math.ceil(len(durations) * fraction) - 1] * 1000
    found = histogram.percentile(fraction)
    assert found is not None
    assert exact * 0.999 - 0.001 <= found <= exact * 1.0501 + 0.001


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, 1e9])
def test_durations_off_the_scale_count(seconds: float) -> None:
    histogram = Histogram()
    histogram.record(seconds)
    assert histogram.total == 1
    assert histogram.percentile(0.5) is not None


def test_without_durations_there_are_no_percentiles() -> None:
    assert Histogram().summary() == {"count": 0, "p50": None, "p90": None, "p99": None}


def message(received_at: float) -> InboundMessage:
    return InboundMessage(b"", "a", "", received_at=received_at)


def test_what_happens_is_counted_by_channel() -> None:
    statistics = Statistics()
    batch = [message(10.0), message(10.5)]
    statistics.committed("adt", batch, 11.0)
    statistics.settled("adt", [(batch[0], State.RESPONSE_SENT), (batch[1], State.REJECTED)], 12.0)
    statistics.settled("adt", [(message(0.0), State.PROCESSED)], 12.0)  # read back from disk: no latency
    statistics.duplicate("adt")
    statistics.failed("oru")
    statistics.timed_out("oru")
    adt, oru = statistics.channels["adt"], statistics.channels["oru"]
    assert (adt.accepted, adt.duplicates, adt.failed, adt.timed_out) == (2, 1, 0, 0)
    assert adt.ended == {State.RESPONSE_SENT: 1, State.REJECTED: 1, State.PROCESSED: 1}
    assert (oru.accepted, oru.failed, oru.timed_out) == (0, 1, 1)
    assert adt.commit.total == adt.answer.total == 2
    assert adt.commit.percentile(1.0) == pytest.approx(1000, rel=0.05)
    assert adt.answer.percentile(1.0) == pytest.approx(2000, rel=0.05)
