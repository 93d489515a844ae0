"""Named points in the life of a message at which a test can end the process as a crash would.

`MEDAGENT_FAILPOINT=after_commit:3` in the environment kills it (SIGKILL) when it gets to `after_commit` for the third time.
Unarmed, a point costs one comparison; no point is reached more than once a batch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from medagent.errors import ConfigError

VARIABLE = "MEDAGENT_FAILPOINT"

POINTS = {
    "after_read": "messages have been read from a device, and the strategy does not have them yet",
    "before_commit": "a transaction is written, and its COMMIT is not",
    "after_commit": "a transaction is on disk, and nobody knows yet",
    "after_ack": "the channels have been told what is on disk",
    "after_send": "messages have been written to the uplink",
    "after_response": "answers of the server have come in, and nothing has been done about them",
    "in_checkpoint": "the write-ahead log is about to be copied into the queue's file",
    "in_retention": "ended messages are deleted, and the transaction is not committed",
    "in_migration": "an older queue file is half converted",
    "in_snapshot": "a file beside the queue is written, and not flushed yet",
}
"""What has happened at each point, by its name."""


class _Armed:
    point = ""
    left = 0


def arm(environ: Mapping[str, str]) -> None:
    """Arm the point that the environment names, if any. Raises `ConfigError` for one that does not exist."""
    text = environ.get(VARIABLE, "")
    point, _, count = text.partition(":")
    if text and (point not in POINTS or not (count or "1").isdigit()):
        raise ConfigError(f"{VARIABLE}: no such point {point!r}, or no count behind its colon; there are {', '.join(POINTS)}")
    _Armed.point, _Armed.left = point, int(count or 1)


def reach(point: str) -> None:
    """End the process here if this point is armed and its turn has come."""
    if _Armed.point == point:
        _Armed.left -= 1
        if _Armed.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
