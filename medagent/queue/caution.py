"""Which message can the server not serve? It names none, so the unanswered ones are sent again one at a time.

Two things open the search: an `agent:error`, and a connection lost again and again with no answer in between (a server that
closes over a message above its limit may be heard to say so, RFC 6455 close code 1009, or only to hang up). Then the
suspects, all that are unanswered, go again in order, never two at a time, until each has an answer. After an error that
begins with a grace, in which the answers of the innocent arrive. Pure state, no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from medagent.types import InboundMessage

GRACE = 1.0
"""Seconds."""
FAILURES_ALONE = 2
"""Errors while it was alone that make a message guilty: two, because the first may be a late one about another message."""
LOSSES_TOGETHER = 2
"""Connections lost in a row, without an answer in between, that open the search."""
LOSSES_ALONE = 3
"""Connections lost in a row while it was alone that make a message dangerous."""


class Caution:
    """The search for a message that the server cannot serve."""

    def __init__(self) -> None:
        self._suspects: dict[int, str] = {}
        """Channel by seq, in order."""
        self._dangerous: dict[int, int] = {}
        """Connections lost over it while it was alone, by seq."""
        self._quiet_until: float | None = None
        self._failures = 0
        self._losses = 0

    @property
    def active(self) -> bool:
        return bool(self._suspects)

    @property
    def next_channel(self) -> str | None:
        """The channel whose next message may go, alone; None in the grace."""
        if self._quiet_until is not None:
            return None
        return next(iter(self._suspects.values()), None)

    def is_dangerous(self, seq: int) -> bool:
        """Whether this message must only be sent alone, after `suspect`."""
        return seq in self._dangerous

    def dangers(self, seq: int) -> int:
        """How often this message seemed to be what ended the connection."""
        return self._dangerous.get(seq, 0)

    def beware(self, seq: int) -> None:
        """This suspect will be tried again later, and then alone."""
        if seq in self._suspects:
            self._dangerous.setdefault(seq, 0)
            self.put_off(seq)

    def suspect(self, seq: int, channel: str) -> None:
        """Send nothing beside this message until it has an answer."""
        self._suspects.setdefault(seq, channel)

    def failed(self, unanswered: Sequence[InboundMessage], now: float) -> InboundMessage | None:
        """An error came; returns the guilty message if it is known now."""
        if not self._suspects:
            self._open(unanswered)
            self._quiet_until = now + GRACE
        elif self._quiet_until is None and len(unanswered) == 1:
            self._failures += 1
            if self._failures >= FAILURES_ALONE:
                return unanswered[0]
        return None

    def disconnected(self, unanswered: Sequence[InboundMessage]) -> InboundMessage | None:
        """The connection is lost; returns a message that seems to be what ends it each time."""
        self._quiet_until = None
        if not unanswered:
            return None
        self._losses += 1
        if not self._suspects:
            if self._losses >= LOSSES_TOGETHER:
                self._open(unanswered)
                self._losses = 0
        elif len(unanswered) == 1:
            message = unanswered[0]
            if self._losses >= LOSSES_ALONE or message.seq in self._dangerous:
                self._dangerous[message.seq] = self._dangerous.get(message.seq, 0) + 1
                self._losses = 0
                return message
        return None

    def _open(self, unanswered: Sequence[InboundMessage]) -> None:
        in_order = sorted(unanswered, key=lambda message: message.seq)
        self._suspects = {message.seq: message.channel for message in in_order}
        self._failures = 0

    def answered(self) -> None:
        """The server answers: the connection works."""
        self._losses = 0

    def settled(self, seq: int) -> None:
        """This message has an answer, or its time is over."""
        self._dangerous.pop(seq, None)
        self.put_off(seq)

    def put_off(self, seq: int) -> None:
        """This message will be tried again later: the search goes on without it."""
        if self._suspects.pop(seq, None) is not None:
            self._failures = 0

    def forget(self, channel: str) -> None:
        """Nothing of this channel is left to send."""
        self._suspects = {seq: of for seq, of in self._suspects.items() if of != channel}

    def grace_ends(self, now: float) -> bool:
        """Whether the grace is over just now: the suspects are to be sent again."""
        if self._quiet_until is None or now < self._quiet_until:
            return False
        self._quiet_until = None
        return True
