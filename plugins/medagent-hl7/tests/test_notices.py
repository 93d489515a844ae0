"""Notices about devices: counted always, logged at a limited rate."""

from __future__ import annotations

import logging
import time

import pytest

from medagent_hl7.notices import Notices


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
