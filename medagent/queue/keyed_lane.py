"""A lane that works on one message of a key at a time, in the order of acceptance, and on several keys at once.

Pure state like `Lane`. Each key has its line of messages, whose head stays there until it has ended, whatever happens to it on
the way: so nothing of a key can overtake, and no two of it can be unanswered. All lines together hold a bounded stretch of
the queue. Most of it is nothing but positions: what has no body in memory is read again when its turn comes.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Sequence

from medagent.channel import Channel, Keyed
from medagent.queue.lane import READY_BYTES, READY_MESSAGES, Lane
from medagent.types import InboundMessage

WINDOW_MESSAGES = 100_000
WINDOW_KEYS = 10_000
"""What a lane knows the places of at most, most of it without body. Beyond one of them the queue is not searched further."""
LONGEST_KEY = 64
"""Characters; of a longer key its digest is kept."""


class KeyedLane(Lane):
    """The unsent and unanswered messages of one channel, by key."""

    def __init__(self, channel: str, max_workers: int, key: Callable[[InboundMessage], str], newest: int = 0) -> None:
        """`key` must not raise."""
        super().__init__(channel, max_workers, newest=newest)
        self.key = key
        self._lines: dict[str, list[int]] = {}
        """Seqs by key; what is sent, or waits to be sent again, is the head of its line."""
        self._heads: dict[int, str] = {}
        """Keys by the seq of their head."""
        self._held = 0
        self._bodies: dict[int, InboundMessage] = {}
        self._loaded: list[int] = []
        self._unread: list[int] = []
        """Heaps of heads that may go: with body in memory, and without."""
        self._failed: dict[int, float] = {}
        """When those are due that were in state `error` at the start and are no head yet."""

    @property
    def strictly_serial(self) -> bool:
        return False  # one key at a time is not one message after the other: a key that waits holds up no other

    @property
    def _full(self) -> bool:
        return self._held >= WINDOW_MESSAGES or len(self._lines) >= WINDOW_KEYS

    @property
    def wants_page(self) -> bool:
        known = len(self._loaded) + len(self._unread)
        return self.behind and not self.reading and not self._full and known < self.max_in_flight

    @property
    def idle(self) -> bool:
        return not (self._held or self.behind or self.reading or self.in_flight)

    @property
    def waiting(self) -> int:
        return len(self._bodies)

    def committed(self, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            if self.behind or self._full:
                message.body = None
            else:
                self._enter(message)
                self.cursor = message.seq
            self.newest = max(self.newest, message.seq)

    def page(self, messages: Sequence[InboundMessage], up_to: int) -> None:
        """As for any lane; besides what is to be sent, `messages` has what `failed_before` named."""
        for message in messages:
            self._enter(message)
        self.cursor = max(self.cursor, up_to)

    def _enter(self, message: InboundMessage) -> None:
        key = _short(self.key(message))
        line = self._lines.setdefault(key, [])
        line.append(message.seq)
        self._held += 1
        if message.seq in self._failed or len(self._bodies) >= READY_MESSAGES or self._ready_bytes >= READY_BYTES:
            message.body = None
        else:
            self._keep(message)
        if len(line) == 1:
            self._offer(key)

    def _keep(self, message: InboundMessage) -> None:
        self._bodies[message.seq] = message
        self._ready_bytes += len(message.body or b"")

    def _offer(self, key: str) -> None:
        seq = self._lines[key][0]
        self._heads[seq] = key
        due = self._failed.pop(seq, None)
        if due is not None:
            heapq.heappush(self._retries, (due, seq))
        else:
            heapq.heappush(self._loaded if seq in self._bodies else self._unread, seq)

    def take(self) -> InboundMessage | None:
        if self.room <= 0 or not self._loaded or (self._unread and self._unread[0] < self._loaded[0]):
            return None
        message = self._bodies.pop(heapq.heappop(self._loaded))
        self._ready_bytes -= len(message.body or b"")
        return message

    def put_back(self, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            self._keep(message)
            heapq.heappush(self._loaded, message.seq)

    def rewind(self, seqs: Iterable[int]) -> None:
        """These will be sent again, each as soon as its turn comes among the keys."""
        for seq in seqs:
            heapq.heappush(self._unread, seq)

    def ended(self, seq: int) -> None:
        """This message needs no further attempt: the next one of its key may go."""
        key = self._heads.pop(seq, None)
        if key is None:
            return
        line = self._lines[key]
        del line[0]
        self._held -= 1
        if line:
            self._offer(key)
        else:
            del self._lines[key]

    def failed_before(self, seq: int, limit: int) -> list[int]:
        unknown = (one for one in self._failed if self.cursor < one <= seq)
        return heapq.nsmallest(limit, unknown)

    def join(self, seq: int, message: InboundMessage) -> None:
        waiting = self._bodies.get(seq)
        if waiting is not None:
            waiting.answer_to(message)

    def retry(self, seq: int, due: float) -> None:
        if seq > self.cursor:
            # of the last run: it is tried again when everything before it is known
            self._failed[seq] = due
        else:
            super().retry(seq, due)

    def take_retry(self, now: float) -> int | None:
        """The seq of a message that is due and may go, or is ready to go and must be read."""
        if self.room > 0 and (seq := super().take_retry(now)) is not None:
            return seq
        # the oldest head goes first, with body or without, so that no key waits for ever
        if self.room > 0 and self._unread and not (self._loaded and self._loaded[0] < self._unread[0]):
            return heapq.heappop(self._unread)
        return None


def workers_of(channel: Channel, max_in_flight: int) -> int:
    """Keys of a channel that may be unanswered at a time; 0 if its lane has no keys, or is strictly serial anyway."""
    return min(channel.max_workers, max_in_flight) if max_in_flight > 1 and isinstance(channel, Keyed) else 0


def make_lane(name: str, channel: Channel, max_in_flight: int, newest: int) -> Lane:
    """The lane of a channel: by key if the channel has keys."""
    workers = workers_of(channel, max_in_flight)
    if workers and isinstance(channel, Keyed):
        return KeyedLane(name, workers, channel.key, newest)
    return Lane(name, max_in_flight, newest=newest)


def _short(key: str) -> str:
    """A key of any length as one that costs little memory."""
    if len(key) <= LONGEST_KEY:
        return key
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=LONGEST_KEY // 2).hexdigest() + "="
