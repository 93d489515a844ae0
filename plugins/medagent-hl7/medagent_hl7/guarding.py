"""What a channel does against bad neighbours at any time: time-outs, and a limit of what half frames hold in memory.

One timer serves all connections of a channel, and looks only at those that have begun something.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping

from medagent.listening import Notices, Overdue
from medagent_hl7.connection import Connection
from medagent_hl7.limits import Limits


class Guard:
    """Watches the connections of one channel."""

    def __init__(self, connections: Mapping[str, Connection], limits: Limits, notices: Notices) -> None:
        """`connections` is the channel's own mapping, which changes."""
        self._connections = connections
        self._limits = limits
        self._changed = asyncio.Event()
        """The limits are others than at the last look."""
        self._notices = notices
        self._watched: set[Connection] = set()
        self._held = 0

    async def run(self) -> None:
        """Look at the connections again and again."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.sweep_seconds):
                    await self._changed.wait()
            self._changed.clear()
            self._sweep(time.monotonic())

    def use(self, limits: Limits) -> None:
        """Go by other limits from now on."""
        self._limits = limits
        self._changed.set()

    def watch(self, connection: Connection) -> None:
        """It is inside a frame, or its device does not read."""
        self._watched.add(connection)

    def ended(self, connection: Connection) -> None:
        self._watched.discard(connection)

    def held_changed(self, change: int) -> None:
        """Some connection holds more or less of an unfinished frame."""
        self._held += change
        if change > 0 and self._held > self._limits.max_buffered_bytes:
            largest = max(self._connections.values(), key=lambda connection: connection.held)
            text = f"{self._held} bytes of unfinished frames are above maxBufferedBytes; the longest is from {largest.remote}"
            self._close(largest, text)

    def _sweep(self, now: float) -> None:
        # without a limit for idle connections there is nothing to see at those between frames
        for connection in list(self._connections.values() if self._limits.idle else self._watched):
            overdue = connection.overdue(now)
            if overdue is not None:
                self._close_overdue(connection, overdue)
            elif not connection.needs_watch:
                self._watched.discard(connection)

    def _close_overdue(self, connection: Connection, overdue: Overdue) -> None:
        where = f": {connection.describe_pending()}" if overdue is Overdue.FRAME else ""
        self._close(connection, f"{overdue.value}{where}, from {connection.remote}")

    def _close(self, connection: Connection, text: str) -> None:
        self._notices.add("connection closed", text)
        connection.abort()
