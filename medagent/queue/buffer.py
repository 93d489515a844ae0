"""Messages that wait for their commit, and which of them the next one takes. Pure state, no I/O, no clock."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence

from medagent.queue.parts import with_parts
from medagent.types import InboundMessage

MOST_BYTES = 1024 * 1024
"""Of the bodies in one commit, unless it is of one message: all who come meanwhile wait for its end."""
MOST_PASSES = 2
"""Commits of others that a message of more than `MOST_BYTES` lets go first: what comes during the first, and the store's work
after it, need not wait for it either."""


class Buffer:
    """Gives messages out in their order, except that a large one and what follows it on its channel let others go first."""

    def __init__(self, most_messages: int) -> None:
        """`most_messages`: in one commit."""
        self._most_messages = most_messages
        self._messages: deque[InboundMessage] = deque()
        self._bytes = 0
        self._passes = 0
        """Commits of others since the first one, which is large, came first."""

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def oldest(self) -> InboundMessage:
        """The one that has waited longest. Raises `IndexError` if there is none."""
        return self._messages[0]

    def add(self, messages: Sequence[InboundMessage]) -> None:
        """Take `messages` in, in order."""
        self._messages.extend(messages)
        self._bytes += _size(messages)

    def take(self) -> list[InboundMessage]:
        """What is to be committed next, and is in the buffer no longer; empty only if that was.

        A message of more than `MOST_BYTES` goes alone, after `MOST_PASSES` commits of other channels if these have so many.
        """
        messages = self._messages
        count = min(self._most_messages, len(messages))
        if self._bytes <= MOST_BYTES or _size(itertools.islice(messages, count)) <= MOST_BYTES:
            batch = [messages.popleft() for _ in range(count)]
        else:
            batch = self._take_fitting() if self._passes < MOST_PASSES else []
            if batch and self._first_is_large:
                self._passes += 1
            else:
                self._passes = 0
            batch = batch or [self._messages.popleft()]
        self._bytes = self._bytes - _size(batch) if self._messages else 0
        return batch

    @property
    def _first_is_large(self) -> bool:
        return bool(self._messages) and _size((self._messages[0],)) > MOST_BYTES

    def _take_fitting(self) -> list[InboundMessage]:
        batch: list[InboundMessage] = []
        held: list[InboundMessage] = []
        channels: set[str] = set()
        """Of those held."""
        room = MOST_BYTES
        while self._messages and len(batch) < self._most_messages and room > 0:
            message = self._messages.popleft()
            channel, size = with_parts((message,))[0].channel, _size((message,))
            if channel in channels or size > room:
                channels.add(channel)
                held.append(message)
            else:
                batch.append(message)
                room -= size
        self._messages.extendleft(reversed(held))
        return batch


def _size(messages: Iterable[InboundMessage]) -> int:
    return sum(sum(part.size for part in message.parts) if message.parts else message.size for message in messages)
