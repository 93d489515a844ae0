"""Notices about devices: counted always, logged at a limited rate."""

from __future__ import annotations

import logging
import time

import pytest

from medagent.listening.notices import Notices


def test_one_line_in_ten_seconds_for_each_kind(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    notices = Notices(logging.getLogger("medagent.channel.lab"), "lab")
    for _ in range(3):
        notices.add("empty frame", "from 10.0.0.7:41022")
    notices.add("message too long", "5 bytes")
    now += 10
    notices.add("empty frame", "from 10.0.0.8:41022")
    assert caplog.messages == [
        "channel lab: empty frame: from 10.0.0.7:41022 (1 so far)",
        "channel lab: message too long: 5 bytes (1 so far)",
        "channel lab: empty frame: from 10.0.0.8:41022 (4 so far)",
    ]
    assert notices.counts == {"empty frame": 4, "message too long": 1}


def test_one_line_for_each_key(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices(logging.getLogger("medagent.channel.lab"), "lab")
    for sender in ("10.0.0.7", "10.0.0.8", "10.0.0.7"):
        notices.add_once("odd name", (sender, "secret"), f"from {sender}")
    assert caplog.messages == ["channel lab: odd name: from 10.0.0.7", "channel lab: odd name: from 10.0.0.8"]
    assert notices.counts == {"odd name": 3}


def test_lines_with_a_key_have_an_end(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices(logging.getLogger("medagent.channel.lab"), "lab")
    for number in range(2000):
        notices.add_once("odd name", (str(number),), "from 10.0.0.7")
    assert len(caplog.messages) == 1000
    assert notices.counts == {"odd name": 2000}
