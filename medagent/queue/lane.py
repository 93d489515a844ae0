"""One channel's place in the line for the uplink: which of its messages goes next. Pure state, no I/O, no clock.

A lane holds a bounded stretch of the queue in memory; the rest is read from the store page by page. `cursor` is the highest
seq that was taken into memory, `newest` the highest that is on disk: between them lies what must still be read.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from medagent.types import InboundMessage

PAGE_MESSAGES = 500
PAGE_BYTES = 4 * 1024 * 1024
READY_MESSAGES = 2000
READY_BYTES = 16 * 1024 * 1024
"""What a lane keeps in memory at most, bodies included; beyond it, messages wait on disk."""


class Lane:
    """The unsent messages of one channel."""

    def __init__(self, channel: str, max_in_flight: int, cursor: int = 0, newest: int = 0) -> None:
        self.channel = channel
        self.max_in_flight = max_in_flight
        self.cursor = cursor
        self.newest = newest
        self.in_flight = 0
        self.held_until = 0.0
        """Nothing goes before, monotonic seconds: the server does not serve the channel."""
        self.holds = 0
        """How often in a row that was so."""
        self.reading = False
        """A page is being read."""
        self.rewinds = 0
        """How often `rewind` was called: a page asked for before one must not be taken after it."""
        self._ready: deque[InboundMessage] = deque()
        self._ready_bytes = 0
        self._retries: list[tuple[float, int]] = []

    @property
    def behind(self) -> bool:
        """There are messages on disk that must be read before newer ones may go."""
        return self.newest > self.cursor

    @property
    def wants_page(self) -> bool:
        return self.behind and not self.reading and len(self._ready) < PAGE_MESSAGES and self._ready_bytes < PAGE_BYTES

    @property
    def idle(self) -> bool:
        """Nothing is left to send, now or later."""
        return not (self._ready or self._retries or self.behind or self.reading or self.in_flight)

    @property
    def room(self) -> int:
        """How many more messages may be unanswered; a channel that was held tries one first."""
        return (1 if self.holds else self.max_in_flight) - self.in_flight

    @property
    def waiting(self) -> int:
        """Messages in memory, ready to go."""
        return len(self._ready)

    @property
    def strictly_serial(self) -> bool:
        return self.max_in_flight == 1

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        """These are on disk; keep them in memory if that keeps the order and there is room."""
        if self.behind or len(self._ready) >= READY_MESSAGES or self._ready_bytes >= READY_BYTES:
            for message in messages:
                message.body = None
        else:
            self._append(messages)
            self.cursor = max(self.cursor, messages[-1].seq)
        self.newest = max(self.newest, messages[-1].seq)

    def page(self, messages: Sequence[InboundMessage], up_to: int) -> None:
        """Take what the store had after `cursor`: all that is to be sent up to seq `up_to`."""
        self._append(messages)
        self.cursor = max(self.cursor, up_to)

    def _append(self, messages: Iterable[InboundMessage]) -> None:
        for message in messages:
            self._ready.append(message)
            self._ready_bytes += len(message.body or b"")

    def take(self) -> InboundMessage | None:
        """The next first attempt, or None if nothing may go now."""
        if not self._ready or self.room <= 0 or (self.strictly_serial and self._retries):
            return None
        message = self._ready.popleft()
        self._ready_bytes -= len(message.body or b"")
        return message

    def put_back(self, messages: Sequence[InboundMessage]) -> None:
        """Undo `take` for messages that the uplink did not take, oldest first."""
        for message in reversed(messages):
            self._ready.appendleft(message)
            self._ready_bytes += len(message.body or b"")

    def rewind(self, seqs: Iterable[int]) -> None:
        """These will be sent again, in order: read the queue again from the first of them."""
        first = min(seqs, default=None)
        if first is not None:
            self.rewinds += 1
            # what waits in memory may be older: a retry can be on its way before it
            oldest = self._ready[0].seq if self._ready else first
            self._ready.clear()
            self._ready_bytes = 0
            self.cursor = min(self.cursor, first - 1, oldest - 1)

    def ended(self, seq: int) -> None:
        """This message needs no further attempt."""

    def failed_before(self, seq: int, limit: int) -> list[int]:
        """At most `limit` messages in state `error` that a page up to `seq` must bring along, in order."""
        return []

    def join(self, seq: int, message: InboundMessage) -> None:
        """The device has sent message `seq` again over another connection, which gets the answer from now on."""
        for waiting in self._ready:
            if waiting.seq == seq:
                waiting.answer_to(message)
                return

    def retry(self, seq: int, due: float) -> None:
        """Send message `seq` again at monotonic time `due`, seconds."""
        heapq.heappush(self._retries, (due, seq))

    def take_retry(self, now: float) -> int | None:
        """The seq of a message whose retry is due and may go."""
        due = self.next_retry
        if due is None or due > now or self.room <= 0:
            return None
        if not self.strictly_serial:
            return heapq.heappop(self._retries)[1]
        first = self._first_in_order()
        self._retries.remove(first)
        heapq.heapify(self._retries)
        return first[1]

    def _first_in_order(self) -> tuple[float, int]:
        """Of several that have failed in a run with a wider window, the oldest goes first, when its time has come."""
        return min(self._retries, key=lambda retry: retry[1])

    @property
    def next_retry(self) -> float | None:
        if not self._retries:
            return None
        return self._first_in_order()[0] if self.strictly_serial else self._retries[0][0]
