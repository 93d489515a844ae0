"""Messages that only the end of a transmission has ended: acknowledged already, so handed over until they are stored."""

from __future__ import annotations

import logging
from asyncio import get_running_loop
from collections.abc import Callable

from medagent.listening import Notices
from medagent.types import InboundMessage, Refusal, RefusalKind

SECONDS_BETWEEN_TRIES = 1.0


class Unterminated:
    """While one of them is not stored, the channel takes no other message: so few can be lost at a time."""

    def __init__(self, accept: Callable[[list[InboundMessage]], None], notes: Notices, changed: Callable[[], None]) -> None:
        """`changed` is called when `waits` may have become another."""
        self._accept = accept
        self._notes = notes
        self._changed = changed
        self._waiting: set[InboundMessage] = set()

    @property
    def waits(self) -> bool:
        """One of them is not stored."""
        return bool(self._waiting)

    def add(self, message: InboundMessage) -> None:
        """Hand this over until it is stored."""
        message.origin = self
        self._waiting.add(message)
        self._changed()
        self._accept([message])

    def decided(self, message: InboundMessage, refusal: Refusal | None) -> None:
        """The core's word on one of them."""
        if refusal is not None and refusal.kind is RefusalKind.STORAGE:
            get_running_loop().call_later(SECONDS_BETWEEN_TRIES, self._again, message)
            return
        self._waiting.discard(message)
        if refusal is not None:
            self._note_lost(message, refusal.reason)
        self._changed()

    def close(self) -> None:
        """The channel is closed: what is not stored is lost."""
        for message in self._waiting:
            self._note_lost(message, "not stored when the channel was closed")
        self._waiting.clear()

    def _again(self, message: InboundMessage) -> None:
        if message not in self._waiting:
            return  # closed
        again = InboundMessage(message.body, message.control_id, message.remote, message.link)
        again.origin, again.rules, again.sender = self, message.rules, message.sender
        self._waiting.remove(message)
        self._waiting.add(again)
        self._accept([again])

    def _note_lost(self, message: InboundMessage, why: str) -> None:
        self._notes.add("acknowledged message lost", f"{why}, from {message.remote}", logging.ERROR)
