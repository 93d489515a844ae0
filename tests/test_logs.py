"""Log lines, for people and for machines."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from medagent import logs


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def test_json_lines_are_json_whatever_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    log = logging.getLogger("medagent.test")
    log.info('quoted "text" of %s\nand a second line', "Zürich")
    log.debug("not shown")
    try:
        raise ValueError("reason")
    except ValueError:
        log.exception("failed")
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = (json.loads(line) for line in captured.err.splitlines())
    assert first["message"] == 'quoted "text" of Zürich\nand a second line'
    assert (first["level"], first["logger"]) == ("info", "medagent.test")
    assert first["time"].endswith("Z")
    assert len(first["time"]) == len("2026-01-01T00:00:00.000Z")
    assert second["exception"].endswith("ValueError: reason")


def test_text_lines_name_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "text")
    logging.getLogger("medagent.test").info("not shown")
    logging.getLogger("medagent.test").warning("shown")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING shown")


def test_libraries_that_quote_frames_stay_silent(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "text")
    for library in ("websockets.client", "httpx2", "httpcore2.connection", "aiosqlite", "asyncio"):
        logging.getLogger(library).debug('< TEXT \'{"body": "canary"}\'')
        logging.getLogger(library).info("canary")
    assert "canary" not in capsys.readouterr().err


def test_configuring_again_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logs.configure("info", "json")
    logging.getLogger("medagent.test").info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert sys.stderr is not None


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("channel adt: 3 messages, MSH-10 is empty", "channel adt: 3 messages, MSH-10 is empty"),
        ("got MSH|^~\\&|LAB\rPID|1||CANARY", "got [message]"),
        ("got FHS#^~\\&#CANARY", "got [message]"),
        ("with eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOjF9.CANARY-_ at the end", "with [token] at the end"),
        ("Authorization: Bearer CANARY123.x-y", "Authorization: Bearer [token]"),
        ('{"accessToken":"CANARY","a":1}', '{"accessToken":"[secret]","a":1}'),
        ("client_secret=CANARY&grant_type=x", "client_secret=[secret]&grant_type=x"),
    ],
)
def test_what_the_server_may_ask_for_holds_neither_messages_nor_tokens(line: str, kept: str) -> None:
    record = logging.LogRecord("medagent", logging.ERROR, "", 0, line, None, None)
    recent = logs.RecentLines()
    recent.emit(record)
    assert recent.newest(1) == [{"level": "ERROR", "msg": kept, "timestamp": logs.timestamp(record)}]


def test_only_the_newest_lines_are_kept_for_the_server() -> None:
    recent = logs.RecentLines()
    for number in range(logs.RECENT_LINES + 5):
        recent.emit(logging.LogRecord("medagent", logging.INFO, "", 0, "%d " + "x" * 5000, (number,), None))
    lines = recent.newest(2000)
    assert [lines[0]["msg"][:4], lines[-1]["msg"][:2]] == ["1004", "5 "]
    assert len(lines) == logs.RECENT_LINES
    assert max(len(line["msg"]) for line in lines) == logs.MAX_LINE


def test_what_nobody_catches_is_told_by_its_type(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    class Going:
        def __del__(self) -> None:
            raise ValueError("CANARY")

    def fail() -> None:
        raise KeyError("CANARY")

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logs.hide_texts()
    for work in (fail, sys.exit):
        thread = threading.Thread(target=work, name="of a plugin")
        thread.start()
        thread.join()
    Going()
    assert [record.getMessage() for record in caplog.records] == [
        "thread of a plugin failed: KeyError",
        "an object failed as it went: ValueError",
    ]
    assert "CANARY" not in capsys.readouterr().err
