"""Time as a port: what must be tested at any hour takes a `Clock`, and only asks it.

Timers are the event loop's, so a loop with a time of its own moves them too.
"""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The module `time` is one."""

    def monotonic(self) -> float:
        """Seconds, never going back: for every duration."""

    def time(self) -> float:
        """Seconds since the epoch, which may jump: for what people read and what outlives the process."""
