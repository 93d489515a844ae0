"""The messages that were written to the uplink and are not answered yet. Pure state, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Container

from medagent.types import InboundMessage


class Flights:
    """All of them, in the order of sending."""

    def __init__(self) -> None:
        self._flights: dict[str, tuple[InboundMessage, float]] = {}
        """By callback; with the deadline, monotonic seconds."""

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def callbacks(self) -> Container[str]:
        return self._flights.keys()

    @property
    def messages(self) -> list[InboundMessage]:
        return [message for message, _ in self._flights.values()]

    def of_channel(self, channel: str) -> list[InboundMessage]:
        return [message for message in self.messages if message.channel == channel]

    def begin(self, message: InboundMessage, deadline: float) -> None:
        """It was sent; an earlier flight of it counts no more."""
        self._flights.pop(message.callback, None)  # the deadlines stay in order
        self._flights[message.callback] = (message, deadline)

    def end(self, callback: str) -> InboundMessage | None:
        """It is answered, or given up; None if it was not there."""
        flight = self._flights.pop(callback, None)
        return flight[0] if flight is not None else None

    def find(self, seq: int) -> InboundMessage | None:
        return next((message for message in self.messages if message.seq == seq), None)

    def late(self, now: float) -> list[InboundMessage]:
        """Those whose deadline is over."""
        late = []
        for message, deadline in self._flights.values():
            # in the order of sending, so of deadlines
            if deadline > now:
                break
            late.append(message)
        return late
