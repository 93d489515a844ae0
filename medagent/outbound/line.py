"""The messages that wait for one device, in order, and nobody waits for their answers: only their places in the queue."""

from __future__ import annotations

from collections import deque

from medagent.types import InboundMessage


class Line:
    """One device's line. Pure state: the bodies of all but the first are on disk only."""

    def __init__(self) -> None:
        self._seqs: deque[int] = deque()
        self.head: InboundMessage | None = None
        """The first message with its body, once it has been read."""
        self.failures = 0
        """Of the first message in a row, in this run."""

    def __bool__(self) -> bool:
        return bool(self._seqs)

    def add(self, seq: int) -> None:
        """Another message, behind all others."""
        self._seqs.append(seq)

    @property
    def first(self) -> int:
        """The seq of the message whose turn it is."""
        return self._seqs[0]

    def ended(self) -> None:
        """The first message has ended: it is the next one's turn."""
        self._seqs.popleft()
        self.head = None
        self.failures = 0
