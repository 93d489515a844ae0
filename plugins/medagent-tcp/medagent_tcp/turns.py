"""Acknowledgments that name no message leave in the order of the frames, whenever each is decided. Without I/O."""

from __future__ import annotations

from collections import OrderedDict


class Turns:
    """The frames of one connection that wait for their acknowledgment."""

    def __init__(self) -> None:
        self._replies: OrderedDict[object, bytes | None] = OrderedDict()

    def take(self, frame: object) -> None:
        """This frame is next in the line. `frame` is anything that can be told from the others, such as its message."""
        self._replies[frame] = None

    def decide(self, frame: object, reply: bytes) -> bytes:
        """What this frame is answered, b"" for nothing; returns what may leave now. One that was not taken has no turn."""
        if frame in self._replies:
            self._replies[frame] = reply
        leaving = []
        while self._replies:
            first, decided = next(iter(self._replies.items()))
            if decided is None:
                break
            leaving.append(decided)
            del self._replies[first]
        return b"".join(leaving)
