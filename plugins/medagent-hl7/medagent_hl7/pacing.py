"""At most so many messages a minute from one connection: frames are held, and the device is not read meanwhile. Without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from medagent_hl7.framing import Frame, FrameEvent


class Pacer:
    """Lets a frame pass every `spacing` seconds, the first one at once; what is no frame passes in its place, unpaced."""

    def __init__(self, spacing: float) -> None:
        self.spacing = spacing
        """Seconds; may be changed, 0.0 holds nothing."""
        self._held: deque[FrameEvent] = deque()
        self._passed_at = float("-inf")

    @property
    def holds(self) -> bool:
        """Whether something waits: then nothing more should be read."""
        return bool(self._held)

    def hold(self, events: Iterable[FrameEvent]) -> None:
        """Take the events of one read."""
        self._held.extend(events)

    def release(self, now: float) -> list[FrameEvent]:
        """What may pass at `now`, monotonic seconds, in order."""
        passing: list[FrameEvent] = []
        while self._held:
            if isinstance(self._held[0], Frame):
                if now < self._passed_at + self.spacing:
                    break
                self._passed_at = now
            passing.append(self._held.popleft())
        return passing

    def delay(self, now: float) -> float:
        """Seconds until the next frame may pass."""
        return max(0.0, self._passed_at + self.spacing - now)
