"""The clock of a simulated agent: the loop's time, and a wall clock that can jump."""

from __future__ import annotations

from medagent.testing.simulation.loop import VirtualLoop

EPOCH = 1_767_614_400.0
"""The wall clock's time when a simulation starts."""
BOOTED = 1000.0
"""The monotonic time when a simulation starts: not 0, which means "never" in places."""


class VirtualClock:
    """A `medagent.clock.Clock`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset = 0.0
        """Seconds by which the wall clock is wrong."""

    def monotonic(self) -> float:
        return BOOTED + self._loop.time()

    def time(self) -> float:
        return EPOCH + self._loop.time() + self.offset
