"""Answers to requests of the server that wait for a connection that takes them. State only: no I/O, no clock of its own."""

from __future__ import annotations

import logging
from collections import deque

from medagent.throttle import Throttle

log = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""No REST call waits longer for an agent's answer."""
MAX_BYTES = 16 * 1024 * 1024
LOG_EVERY = 60.0
"""Seconds between two lines about answers that were not given."""


class Replies:
    """Encoded frames in the order they were given, no older than a minute; the oldest go first when there are too many."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._log = Throttle(LOG_EVERY)
        self._forgotten = 0
        """Since the last line of the log."""

    def keep(self, frame: bytes, now: float) -> None:
        """Keep a frame. `now`: monotonic seconds."""
        self._kept.append((now, frame))
        self._bytes += len(frame)
        self._forget(now)

    def take(self, now: float) -> bytes | None:
        """What is to be sent next."""
        self._forget(now)
        if not self._kept:
            return None
        _, frame = self._kept.popleft()
        self._bytes -= len(frame)
        return frame

    def _forget(self, now: float) -> None:
        while self._kept and (self._bytes > MAX_BYTES or now - self._kept[0][0] > KEPT_SECONDS):
            self._bytes -= len(self._kept.popleft()[1])
            self._forgotten += 1
        if self._forgotten and self._log.passes("forgotten", now):
            log.warning("%d answer(s) to requests of the server could not be given, nor will they be", self._forgotten)
            self._forgotten = 0
