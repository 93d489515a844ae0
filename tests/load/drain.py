"""What arrives at the server: each message once, in order on its connection, and under one key."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence

from medagent.testing.bots import BotRequest, BotResult, acknowledge


class Ledger:
    """Checks what a bot is given; keeps eight bytes a message."""

    def __init__(self, shares: Sequence[int]) -> None:
        """`shares`: how many messages were sent on each connection."""
        self._keys = [array("q", bytes(8 * share)) for share in shares]
        """A digest of each message's callback, by connection and place; 0 for a message that has not come."""
        self._next = [0] * len(shares)
        self._repeated = 0
        self._out_of_order = 0
        self._under_two_keys = 0
        self._unknown = 0
        self._count = sum(shares)
        self._began_at = self._came_at = 0.0

    def serve(self, request: BotRequest) -> BotResult:
        """Note a message, and acknowledge it."""
        self._came_at = time.monotonic()
        self._began_at = self._began_at or self._came_at
        try:
            connection, place = map(int, request.body.split("|", 10)[9].split("-"))
            keys = self._keys[connection]
            known = keys[place]
        except (ValueError, IndexError):
            self._unknown += 1
            return acknowledge(request)
        key = hash(request.callback) or 1
        if known:
            self._repeated += 1
            self._under_two_keys += known != key
        else:
            # a first attempt leaves in order; a repeat may come at any time
            self._out_of_order += place != self._next[connection]
            self._next[connection] = place + 1
            keys[place] = key
        return acknowledge(request)

    @property
    def per_second(self) -> float:
        """Messages, from the first to the last."""
        return self._count / max(self._came_at - self._began_at, 0.001)

    def figures(self) -> dict[str, float]:
        """By name."""
        return {
            "missing": sum(key == 0 for keys in self._keys for key in keys) + self._unknown,
            "repeated": self._repeated,
            "out_of_order": self._out_of_order,
            "under_two_keys": self._under_two_keys,
        }
