"""How long to wait before the next try."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Exponential back-off with full jitter: each delay is random between 0 and a bound that doubles up to a cap.

    Full jitter spreads the agents of many sites when their server comes back.
    """

    def __init__(
        self, start: float = 0.5, cap: float = 30.0, *, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        """`start` and `cap` are the first and the greatest bound, seconds."""
        self._start = start
        self._bound = start
        self._cap = cap
        self._uniform = uniform

    def next(self) -> float:
        """The next delay, seconds."""
        bound = self._bound
        self._bound = min(bound * 2, self._cap)
        return self._uniform(0.0, bound)

    def reset(self) -> None:
        """All is well again: begin with the shortest delays."""
        self._bound = self._start
