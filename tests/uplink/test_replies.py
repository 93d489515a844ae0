"""Answers that wait for the next connection."""

from __future__ import annotations

import pytest

from medagent.uplink import replies as replies_module
from medagent.uplink.replies import KEPT_SECONDS, LOG_EVERY, Replies


def test_they_go_once_and_in_order() -> None:
    replies = Replies()
    replies.keep(b"1", 0.0)
    replies.keep(b"2", 1.0)
    assert [replies.take(2.0) for _ in range(3)] == [b"1", b"2", None]


def test_nobody_waits_for_an_old_one(caplog: pytest.LogCaptureFixture) -> None:
    replies = Replies()
    replies.keep(b"1", 0.0)
    replies.keep(b"2", 10.0)
    assert [replies.take(KEPT_SECONDS + 1.0) for _ in range(2)] == [b"2", None]
    assert "1 answer(s)" in caplog.text


def test_they_take_no_more_memory_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies_module, "MAX_BYTES", 10)
    replies = Replies()
    for number in range(5):
        replies.keep(b"%04d" % number, 0.0)
    assert [replies.take(0.0) for _ in range(3)] == [b"0003", b"0004", None]


def test_many_that_cannot_be_given_are_a_line_in_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(replies_module, "MAX_BYTES", 10)
    replies = Replies()
    for number in range(100):
        replies.keep(b"%04d" % number, 0.0)
    replies.keep(b"last", LOG_EVERY)
    assert [line.partition(" ")[0] for line in caplog.messages] == ["1", "98"]
