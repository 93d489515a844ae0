"""What one connection is still to be told, in the order in which it sent: nothing overtakes what answers an earlier frame.

What the core decides and what the channel refuses by itself come at different times. Without I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from medagent.types import InboundMessage

Placed = tuple[int, bytes]
"""A frame that refuses or ignores something, and how many messages of the same read came before that."""


class Order:
    """The line of one connection: a message leaves it when it is committed or refused and all before it are."""

    __slots__ = ("_behind", "_early", "_line", "unanswered")

    def __init__(self) -> None:
        self._line: deque[InboundMessage | bytes] = deque()
        """Undecided messages, with the frames that wait behind them."""
        self._early: dict[InboundMessage, bytes | None] = {}
        """What was decided before something ahead of it."""
        self._behind: set[InboundMessage | bytes] = set()
        """All that is in the line, while there is something early."""
        self.unanswered = 0
        """Messages on disk whose only acknowledgment is the server's answer."""

    @property
    def owes(self) -> bool:
        """Whether something is still to come."""
        return bool(self._line) or self.unanswered > 0

    def add(self, messages: Sequence[InboundMessage], frames: Sequence[Placed] = ()) -> None:
        """Messages that are handed over now, and frames between them; `due` then says which frames can leave at once."""
        begin = 0
        for position, frame in frames:
            self._line.extend(messages[begin:position])
            self._line.append(frame)
            begin = position
        self._line.extend(messages[begin:] if begin else messages)
        if self._early:
            self._behind.update(messages)

    def due(self) -> list[bytes]:
        """The frames that wait for nothing more."""
        frames: list[bytes] = []
        if self._line and isinstance(self._line[0], bytes):
            self._advance(frames)
        return frames

    def decide(self, decided: Iterable[tuple[InboundMessage, bytes | None]]) -> list[bytes]:
        """Messages are committed or refused, each with the frame that says so; returns what can leave now."""
        line, early = self._line, self._early
        frames: list[bytes] = []
        for message, frame in decided:
            head = line[0] if line else None
            if head is message:
                line.popleft()
                if frame is not None:
                    frames.append(frame)
                if early or (line and isinstance(line[0], bytes)):
                    self._advance(frames)
            elif self._is_behind(message):
                early[message] = frame
            elif frame is not None:  # decided twice, or not from here
                frames.append(frame)
        return frames

    def answered(self, count: int) -> None:
        """The server has answered so many of the messages."""
        self.unanswered = max(0, self.unanswered - count)

    def _is_behind(self, message: InboundMessage) -> bool:
        if not self._early:
            self._behind = set(self._line)
        return message in self._behind

    def _advance(self, frames: list[bytes]) -> None:
        line, early = self._line, self._early
        while line:
            head = line[0]
            if isinstance(head, bytes):
                frames.append(head)
            elif head in early:
                frame = early.pop(head)
                if frame is not None:
                    frames.append(frame)
            else:
                return
            line.popleft()
        early.clear()
