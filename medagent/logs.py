"""Logging set-up: lines for people or JSON for machines, on standard error.

The rule that keeps patients' data out: no call gives a logger message content, and failures are logged by type.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from collections import deque

log = logging.getLogger(__name__)

RECENT_LINES = 1000
"""Lines that the server can ask for."""
MAX_LINE = 500
"""Characters of a line that are kept for it."""
_LEVELS = {"WARNING": "WARN", "CRITICAL": "ERROR"}
_SECRETS = (
    # a message with all that follows it, and not the name of a field such as MSH-10
    (re.compile(r"\b(?:MSH|FHS|BHS)(?:\||([^\w\s])[^\w\s]{1,5}\1).*", re.DOTALL), "[message]"),
    # an access token: a JWT (RFC 7519), or what a header or a form carries (RFC 6750, RFC 6749)
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"), "[token]"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), r"\1 [token]"),
    (
        re.compile(r"\b((?:access|id|refresh)_?token|client_?secret|password)(\W{1,4})[^\s,;&\"']+", re.IGNORECASE),
        r"\1\2[secret]",
    ),
)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `{"time": "...", "level": "info", "logger": "medagent.agent", "message": "..."}`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def redacted(text: str) -> str:
    """A line without what looks like a message or a token. No line should hold any: this is the second lock on the door."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class RecentLines(logging.Handler):
    """The newest lines, for who asks from afar: `{"level": "WARN", "msg": "...", "timestamp": "2026-01-02T08:00:00.000Z"}`."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[dict[str, str]] = deque(maxlen=RECENT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(
            {
                "level": _LEVELS.get(record.levelname, record.levelname),
                "msg": redacted(record.getMessage()[:MAX_LINE]),
                "timestamp": timestamp(record),
            }
        )

    def newest(self, count: int) -> list[dict[str, str]]:
        """So many lines, the newest first."""
        return [line for line, _ in zip(reversed(self._lines), range(count), strict=False)]


recent_lines = RecentLines()
"""Of this process, since `configure`."""


def timestamp(record: logging.LogRecord) -> str:
    """When a line was logged, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def configure(level: str, log_format: str) -> None:
    """Set up the process's logging. `level`: debug, info, warning or error; `log_format`: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler, recent_lines]
    root.setLevel(level.upper())
    # other libraries' debug lines may quote frames, and with them messages and tokens
    for name in ("websockets", "httpx2", "httpcore2", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def hide_texts() -> None:
    """Have what nobody catches in threads, and in objects that go, logged by type: Python would show texts, and code lines."""

    def in_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not SystemExit:
            log.error("thread %s failed: %s", failed.thread.name if failed.thread is not None else "", failed.exc_type.__name__)

    threading.excepthook = in_thread
    sys.unraisablehook = lambda failed: log.error("an object failed as it went: %s", failed.exc_type.__name__)
