"""How many bytes of live messages the queue file holds: a running sum a channel, written with the commit that changes it.

So a start needs no look at a million rows. It is kept among the registers, under a name of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from medagent.queue.base import Change
from medagent.queue.sqlite.statements import SET_REGISTER, SIZE_OF_STATE
from medagent.types import InboundMessage, State

LIVE_BYTES_REGISTER = "live_bytes"


class LiveBytes:
    """The sums as they are on disk, by channel."""

    def __init__(self) -> None:
        self._sums: dict[str, int] = {}

    def of(self, channel: str) -> int:
        return self._sums.get(channel, 0)

    def load(self, connection: sqlite3.Connection, channels: Iterable[str]) -> None:
        """Read the sums; that of a channel without one is counted, which only a file of an older medagent needs."""
        self._sums = dict(connection.execute("SELECT channel, value FROM register WHERE name = ?", (LIVE_BYTES_REGISTER,)))
        if not all(isinstance(value, int) for value in self._sums.values()):
            raise ValueError("a sum is no number")
        for channel in channels:
            if channel not in self._sums:
                found = sum(self._count(connection, channel, state) for state in State if not state.ended)
                self.write(connection, {channel: found})
                self._sums[channel] = found

    @staticmethod
    def _count(connection: sqlite3.Connection, channel: str, state: State) -> int:
        return int(connection.execute(SIZE_OF_STATE, (channel, state)).fetchone()[0])

    def end_all(self, connection: sqlite3.Connection, channel: str, state: State) -> None:
        """The messages in a live state are about to be ended by one statement, in a transaction that will not fail."""
        self._sums[channel] = self.of(channel) - self._count(connection, channel, state)
        self.write(connection, {channel: self._sums[channel]})

    def after(self, stored: Sequence[InboundMessage], changes: Sequence[Change], states: Mapping[int, State]) -> dict[str, int]:
        """The sums that a commit changes, as they will be; `states` of the changed messages, by seq, before it."""
        sums: dict[str, int] = {}
        for message in stored:
            sums[message.channel] = sums.get(message.channel, self.of(message.channel)) + message.size
        for change in changes:
            message, before = change.message, states.get(change.message.seq)
            if change.state.ended and before is not None and not before.ended:
                sums[message.channel] = sums.get(message.channel, self.of(message.channel)) - message.size
        return sums

    @staticmethod
    def write(connection: sqlite3.Connection, sums: dict[str, int]) -> None:
        """Write sums in the transaction that the caller has begun."""
        for channel, value in sums.items():
            connection.execute(SET_REGISTER, (channel, LIVE_BYTES_REGISTER, value))

    def committed(self, sums: dict[str, int]) -> None:
        """What was written is on disk."""
        self._sums |= sums
