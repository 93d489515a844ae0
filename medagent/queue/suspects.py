"""Which message does an `agent:error` mean? The server names none, so the unanswered ones are sent again one by one.

Pure state. While it is active nothing else is sent. The first error opens the search; after a grace in which the answers of
the innocent arrive, each message that is still unanswered is a suspect and goes alone. One that fails alone twice is guilty:
twice, because the first error may be a late one about another message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from medagent.types import InboundMessage

GRACE = 1.0
"""Seconds."""
FAILURES_ALONE = 2


class Suspects:
    """The search for a message that the server cannot serve."""

    def __init__(self) -> None:
        self.active = False
        self._waiting: deque[str] = deque()
        self._probe: str | None = None
        self._probe_sent = False
        self._failures = 0
        self._quiet_until = 0.0

    def clear(self) -> None:
        """The connection is gone: everything will be sent again anyway."""
        self.active = False
        self._waiting.clear()
        self._probe = None
        self._failures = 0

    def failed(self, unanswered: Sequence[InboundMessage], now: float) -> str | None:
        """An error came; returns the callback of the guilty message if it is known now."""
        if not self.active:
            self.active = True
            self._waiting = deque(message.callback for message in sorted(unanswered, key=lambda message: message.seq))
            self._quiet_until = now + GRACE
            return None
        if self._probe is None or not self._probe_sent:
            return None
        probe, self._probe = self._probe, None
        self._failures += 1
        if self._failures >= FAILURES_ALONE:
            self._failures = 0
            return probe
        self._waiting.appendleft(probe)
        return None

    def next_probe(self, unanswered: Collection[str], now: float) -> str | None:
        """The callback of the message to send alone now; None to wait, or when the search is over (`active` is False)."""
        if now < self._quiet_until or (self._probe is not None and self._probe in unanswered):
            return None
        if self._probe is not None:
            self._probe, self._failures = None, 0
        while self._waiting:
            candidate = self._waiting.popleft()
            if candidate in unanswered:
                self._probe, self._probe_sent = candidate, False
                return candidate
            self._failures = 0
        self.active = False
        return None

    def probe_sent(self, callback: str) -> None:
        """The probe was written to the uplink: an error from now on is its own."""
        if self._probe == callback:
            self._probe_sent = True

    def probe_unsent(self, callback: str) -> None:
        """The probe could not be written: it comes next again."""
        if self._probe == callback:
            self._waiting.appendleft(callback)
            self._probe = None
