"""A circuit breaker: code that fails again and again is left alone for a while. Pure state, no I/O, no clock.

It is closed at first. Faults in a row open it; when its cool-down is over, it is half open and lets calls through: a success
closes it, a fault opens it again. The cool-down doubles each time it opens soon after it was closed or half open.
"""

from __future__ import annotations

FAULTS_IN_A_ROW = 5
"""Of one method or hook, without a success between them, open it."""
DEVICES_IN_A_ROW = 2
"""So many devices must have brought them about, where devices' data has: one may not have the others cut off."""
FIRST_COOL_DOWN = 5.0
LONGEST_COOL_DOWN = 300.0
"""Seconds that it stays open: doubled from the first to the longest."""
BLOCKED_COOL_DOWN = 60.0
"""Seconds that it stays open at least after a call that has blocked the event loop."""
MEMORY = 600.0
"""Seconds after which the next opening counts as the first."""


class Breaker:
    """The state of one. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.open = False
        """Whether calls are kept back; only `allows` ends it."""
        self.half_open = False
        self.troubled = False
        """Whether `succeeded` has anything to do."""
        self.reason = ""
        """Why it has opened last."""
        self._until = 0.0
        self._cool_down = 0.0
        self._in_a_row: dict[str, int] = {}
        self._devices: dict[str, set[str]] = {}
        """Whose data has brought the faults in a row about, by method; no more than matter."""

    def allows(self, now: float) -> bool:
        """Whether a call may go through; the first one after the cool-down finds it half open."""
        if self.open and now >= self._until:
            self.open, self.half_open, self.troubled = False, True, True
        return not self.open

    def seconds_left(self, now: float) -> float:
        """Of the cool-down; 0 if it is not open."""
        return max(0.0, self._until - now) if self.open else 0.0

    def succeeded(self, what: str) -> None:
        """A call of this method or hook went well."""
        self._in_a_row.pop(what, None)
        self._devices.pop(what, None)
        self.half_open = False
        self.troubled = bool(self._in_a_row)

    def devices_succeeded(self) -> None:
        """Data of a device was handled well."""
        for what in list(self._devices):
            self.succeeded(what)

    def failed(self, what: str, now: float, reason: str, device: str = "") -> bool:
        """A call went wrong; whether that has opened it.

        With a `device`, whose data has brought it about, several devices must have done so: one cannot open it.
        """
        in_a_row = self._in_a_row[what] = self._in_a_row.get(what, 0) + 1
        self.troubled = True
        enough = in_a_row >= FAULTS_IN_A_ROW or self.half_open
        if device:
            devices = self._devices.setdefault(what, set())
            if len(devices) < DEVICES_IN_A_ROW:
                devices.add(device)
            enough = in_a_row >= FAULTS_IN_A_ROW and len(devices) >= DEVICES_IN_A_ROW
        if self.open or not enough:
            return False
        self._open(now, reason, FIRST_COOL_DOWN)
        return True

    def blocked(self, now: float, reason: str) -> bool:
        """A call has blocked the event loop; whether that has opened it."""
        newly = not self.open
        self._open(now, reason, BLOCKED_COOL_DOWN)
        return newly

    def _open(self, now: float, reason: str, at_least: float) -> None:
        doubled = self._cool_down * 2 if now < self._until + MEMORY else 0.0
        self._cool_down = min(max(doubled, at_least), LONGEST_COOL_DOWN)
        self._until = now + self._cool_down
        self.open, self.half_open, self.reason = True, False, reason
        self._in_a_row.clear()
        self._devices.clear()
        self.troubled = False
