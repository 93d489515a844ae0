"""Which workings hold for a message: those that were in force when it was read. Without I/O.

A message is known by its seq, since nothing else is left in memory of one that waits on disk. One of an earlier run goes by
what is in force now, as after a restart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from medagent.queue.parts import with_parts
from medagent.types import InboundMessage
from medagent_hl7.workings import Workings

MOST_EARLIER = 64
"""Earlier workings that are remembered; what was read under older ones goes by the oldest of them."""


class InForce:
    """The workings of one channel, now and before."""

    def __init__(self, workings: Workings) -> None:
        self.now = workings
        self._first = 1
        """The first seq of this run."""
        self._last = 0
        """The newest seq; 0 if nothing was handed over yet."""
        self._changed_after = 0
        """The newest seq at the last change."""
        self._earlier: deque[tuple[int, Workings]] = deque(maxlen=MOST_EARLIER)
        """With the last seq that goes by them."""
        self._resent: dict[int, Workings] = {}
        """By the seq of messages read before the last change and sent again: what was in force for the copy."""

    def change(self, workings: Workings) -> None:
        """These are in force for all that is read from now on."""
        if self._last > self._changed_after:
            self._earlier.append((self._last, self.now))
            self._changed_after = self._last
        self.now = workings

    @property
    def unchanged(self) -> bool:
        """Whether what is in force now holds for every message."""
        return not self._earlier

    def handed_over(self, messages: Sequence[InboundMessage]) -> None:
        """The core has taken these, so they have their seqs; 0 if it has refused them at once."""
        stored = with_parts(messages)
        if not self._last:
            self._first = next((message.seq for message in stored if message.seq), self._first)
        self._last = next((message.seq for message in reversed(stored) if message.seq), self._last)

    def at(self, message: InboundMessage) -> Workings:
        """What was in force when a message was read."""
        seq = message.seq
        if not self._first <= seq <= self._changed_after:
            return self.now
        return next(workings for last, workings in self._earlier if seq <= last)

    def owed(self, message: InboundMessage) -> Workings:
        """By what the sender of a message is answered: what was in force when it sent it, or sent it again."""
        return self._resent.get(message.seq) or self.at(message)

    def resent(self, message: InboundMessage) -> None:
        """A copy of a message has come in: whoever answers that one answers the copy."""
        if self._first <= message.copy_of <= self._changed_after:
            self._resent[message.copy_of] = self.at(message)

    def answered(self, messages: Sequence[InboundMessage]) -> None:
        """Messages, or copies of them, have got their answers."""
        if self._resent:
            for message in messages:
                self._resent.pop(message.copy_of or message.seq, None)
