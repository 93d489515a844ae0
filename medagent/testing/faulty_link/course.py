"""One direction of one connection: bytes go in, and out comes what passes and which fault strikes where. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from medagent.testing.faulty_link.faults import Armed, ByteFault, DuplicateMessage, MessageFault
from medagent.testing.faulty_link.messages import Messages

_BYTE_FAULTS, _MESSAGE_FAULTS = get_args(ByteFault), get_args(MessageFault)


class Course:
    """Counts bytes and messages for the faults that wait here."""

    def __init__(self) -> None:
        self._messages = Messages()
        self._by_bytes: dict[Armed, int] = {}
        """Bytes until each strikes."""
        self._by_messages: dict[Armed, int] = {}
        """Messages that are still to begin, its own included, until each strikes."""
        self._chosen: Armed | None = None
        """What strikes the message at hand."""
        self._held = bytearray()
        """That message, as far as it has come."""

    def arm(self, armed: Armed) -> None:
        """Count for this fault from here on."""
        if isinstance(armed.fault, _BYTE_FAULTS):
            self._by_bytes[armed] = armed.fault.after
        elif isinstance(armed.fault, _MESSAGE_FAULTS):
            self._by_messages[armed] = armed.fault.message

    def take(self, data: bytes) -> Iterator[bytes | Armed]:
        """Some bytes have come. Yields those that pass, and each fault where it strikes: what it does is the caller's to do,
        but for messages, which are doubled or dropped here. What the caller does not ask for any more has not passed."""
        while data:
            self._by_bytes = {armed: left for armed, left in self._by_bytes.items() if armed.live}
            armed = min(self._by_bytes, key=self._by_bytes.__getitem__, default=None)
            if armed is None or self._by_bytes[armed] > len(data):
                self._count(len(data))
                yield from self._pass(data)
                return
            passing, data = data[: self._by_bytes[armed]], data[self._by_bytes[armed] :]
            self._count(len(passing))
            yield from self._pass(passing)
            del self._by_bytes[armed]
            if armed.live:
                yield armed

    def _count(self, passed: int) -> None:
        for armed in self._by_bytes:
            self._by_bytes[armed] -= passed

    def _pass(self, data: bytes) -> Iterator[bytes | Armed]:
        for piece in self._messages.feed(data):
            if piece.begins:
                self._choose()
            if self._chosen is None:
                yield piece.data
                continue
            self._held += piece.data
            if piece.ends:
                chosen, message = self._chosen, bytes(self._held)
                self._chosen = None
                self._held.clear()
                # another connection may have been faster
                copies = 1 if not chosen.live else 2 if isinstance(chosen.fault, DuplicateMessage) else 0
                if chosen.live:
                    yield chosen
                yield from [message] * copies

    def _choose(self) -> None:
        self._by_messages = {armed: left - 1 for armed, left in self._by_messages.items() if armed.live}
        self._chosen = next((armed for armed, left in self._by_messages.items() if left <= 0), None)
