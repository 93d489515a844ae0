"""Counting what goes wrong with devices, and logging it at a limited rate."""

from __future__ import annotations

import logging
import time
from collections import Counter

from medagent.throttle import Throttle

_SECONDS_BETWEEN_LINES = 10.0
_MOST_KEYS = 1000
"""Remembered by `add_once`: devices choose the keys."""


class Notices:
    """The first notice of a kind is logged at once; later ones at most every ten seconds, with their number so far."""

    def __init__(self, log: logging.Logger, channel: str) -> None:
        self._log = log
        self._channel = channel
        self._lines = Throttle(_SECONDS_BETWEEN_LINES)
        self._keys: set[tuple[str, ...]] = set()
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, text: str, level: int = logging.WARNING) -> None:
        """Count a notice of this `kind`, such as `frame without an end`, and log it at `level`.

        `text` holds no message content.
        """
        self.counts[kind] += 1
        if self._lines.passes(kind, time.monotonic()):
            self._log.log(level, "channel %s: %s: %s (%d so far)", self._channel, kind, text, self.counts[kind])

    def count(self, kind: str) -> None:
        """Count a notice of this `kind` that is logged elsewhere, or not at all."""
        self.counts[kind] += 1

    def add_once(self, kind: str, key: tuple[str, ...], text: str) -> None:
        """Count a notice of this `kind`, and log its `text` if it is the first one with this `key`, which is not logged."""
        self.counts[kind] += 1
        if (kind, *key) not in self._keys and len(self._keys) < _MOST_KEYS:
            self._keys.add((kind, *key))
            self._log.warning("channel %s: %s: %s", self._channel, kind, text)
