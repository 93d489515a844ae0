"""Log lines, for people and for machines."""

from __future__ import annotations

import json
import logging
import sys
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
