"""One line in a while: what goes on failing must not fill the log."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Throttle"]

MOST_KINDS = 1000
"""Remembered, the latest: kinds may come from outside, and be others each time."""


class Throttle:
    """Lets one thing of a kind pass, and the next one when some time is over."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: between two of one kind."""
        self._seconds = seconds
        self._silent_until: dict[Hashable, float] = {}

    def passes(self, kind: Hashable, now: float) -> bool:
        """Whether one of this `kind` may pass at `now`, monotonic seconds; then it does."""
        if now < self._silent_until.get(kind, float("-inf")):
            return False
        self._silent_until.pop(kind, None)
        self._silent_until[kind] = now + self._seconds
        if len(self._silent_until) > MOST_KINDS:
            del self._silent_until[next(iter(self._silent_until))]
        return True
