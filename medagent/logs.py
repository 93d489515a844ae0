"""Logging set-up: lines for people or JSON for machines, on standard error.

The rule that keeps patients' data out: no call gives a logger message content, and failures are logged by type.
"""

from __future__ import annotations

import json
import logging
import sys
import time


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `{"time": "...", "level": "info", "logger": "medagent.agent", "message": "..."}`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def configure(level: str, log_format: str) -> None:
    """Set up the process's logging. `level`: debug, info, warning or error; `log_format`: text or json."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # other libraries' debug lines may quote frames, and with them messages and tokens
    for name in ("websockets", "httpx2", "httpcore2", "aiosqlite", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
