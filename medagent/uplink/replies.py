"""Answers to requests of the server that wait for the next connection. State only: no I/O, no clock of its own."""

from __future__ import annotations

import logging
from collections import deque

log = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""No REST call waits longer for an agent's answer."""
MAX_BYTES = 16 * 1024 * 1024


class Replies:
    """Encoded frames in the order they were given, no older than a minute; the oldest go first when there are too many."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    def keep(self, frame: bytes, now: float) -> None:
        """Keep a frame. `now`: monotonic seconds."""
        self._kept.append((now, frame))
        self._bytes += len(frame)
        self._forget(now)

    def take(self, now: float) -> list[bytes]:
        """What is to be sent now."""
        self._forget(now)
        frames = [frame for _, frame in self._kept]
        self._kept.clear()
        self._bytes = 0
        return frames

    def _forget(self, now: float) -> None:
        forgotten = 0
        while self._kept and (self._bytes > MAX_BYTES or now - self._kept[0][0] > KEPT_SECONDS):
            self._bytes -= len(self._kept.popleft()[1])
            forgotten += 1
        if forgotten:
            log.warning("%d answer(s) to requests of the server could not be given: nobody waits for them any more", forgotten)
