"""The figures that tools read."""

from __future__ import annotations

import json

from medagent.queue.base import ChannelDepth
from medagent.report import add_statistics, queue_report, statistics_line
from medagent.statistics import Statistics
from medagent.types import InboundMessage, State

DEPTHS = {
    "adt": ChannelDepth({State.RECEIVED: 3, State.ERROR: 1, State.RESPONSE_SENT: 6}, 90.0),
    "oru": ChannelDepth({State.REJECTED: 2}, None),
}


def test_the_report_of_a_queue() -> None:
    report = queue_report(DEPTHS, now=100.0)
    assert json.loads(json.dumps(report)) == report
    assert (report["accepted"], report["depth"], report["oldest_age_seconds"]) == (12, 4, 10.0)
    assert report["states"] == {
        "received": 3,
        "sent": 0,
        "response_queued": 0,
        "error": 1,
        "response_sent": 6,
        "processed": 0,
        "response_undelivered": 0,
        "rejected": 2,
        "dead_letter": 0,
        "filtered": 0,
    }
    adt, oru = report["channels"]["adt"], report["channels"]["oru"]
    assert (adt["accepted"], adt["depth"], adt["oldest_age_seconds"]) == (10, 4, 10.0)
    assert (oru["accepted"], oru["depth"], oru["oldest_age_seconds"]) == (2, 0, None)


def test_an_empty_queue_and_a_clock_that_was_set_back() -> None:
    assert queue_report({})["oldest_age_seconds"] is None
    assert queue_report({})["channels"] == {}
    assert queue_report(DEPTHS, now=50.0)["oldest_age_seconds"] == 0.0


def test_a_running_agent_adds_rates_and_latencies() -> None:
    statistics = Statistics()
    one = InboundMessage(b"", "a", "", received_at=10.0)
    statistics.committed("adt", [one] * 20, 10.001)
    statistics.settled("adt", [(one, State.RESPONSE_SENT)] * 10, 10.1)
    statistics.duplicate("new")
    report = add_statistics(queue_report(DEPTHS, now=100.0), statistics, uptime=4.0)
    assert json.loads(json.dumps(report)) == report
    since = report["channels"]["adt"]["since_start"]
    assert (since["accepted"], since["ended"]) == (20, 10)
    assert (since["accepted_per_second"], since["ended_per_second"]) == (5.0, 2.5)
    assert since["commit_ms"]["count"] == 20
    assert 1.0 <= since["commit_ms"]["p99"] <= 1.06
    assert 100 <= since["answer_ms"]["p50"] <= 106
    assert report["channels"]["new"]["accepted"] == 0
    assert report["channels"]["new"]["since_start"]["duplicates"] == 1
    assert "since_start" not in report["channels"]["oru"]


def test_no_time_has_passed_yet() -> None:
    statistics = Statistics()
    statistics.duplicate("adt")
    report = add_statistics(queue_report({}), statistics, uptime=0.0)
    assert report["channels"]["adt"]["since_start"]["accepted_per_second"] == 0.0


def test_the_statistics_line_is_one_line_with_every_state() -> None:
    statistics = Statistics()
    statistics.committed("adt", [InboundMessage(b"", "a", "", received_at=10.0)], 10.001)
    line = statistics_line(add_statistics(queue_report(DEPTHS, now=100.0), statistics, uptime=4.0))
    assert "\n" not in line
    assert line.startswith("Agent stats durableQueueReceived=3 durableQueueSent=0 durableQueueResponseQueued=0 ")
    assert "durableQueueDeadLetter=0 durableQueueFiltered=0 depth=4 " in line
    assert "[adt depth=4 oldest=10.0s in=0.2/s out=0.0/s commit=p50:1.0" in line
    assert line.endswith("[oru depth=0 oldest=none]")
