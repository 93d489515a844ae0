"""What becomes of a push: the server is told, the queue gets its state, the statistics count it."""

from __future__ import annotations

import time
from collections.abc import Callable

from medagent.clock import Clock
from medagent.queue.base import Change
from medagent.queue.committer import Committer
from medagent.statistics import Statistics
from medagent.types import PUSH_CHANNEL, InboundMessage, State
from medagent.uplink.answers import Frame, transmit_failed, transmit_response

Reply = Callable[[Frame], None]


class Outcomes:
    """Tells all who must know. A message's `link` is the callback that somebody waits under; "" if nobody does."""

    def __init__(self, committer: Committer, statistics: Statistics, reply: Reply, clock: Clock = time) -> None:
        self._committer = committer
        self._statistics = statistics
        self._reply = reply
        self._clock = clock

    def sending(self, message: InboundMessage) -> None:
        """An attempt begins."""
        self._committer.change(Change(message, State.SENT))

    def answered(self, message: InboundMessage, content_type: str, answer: str) -> None:
        """The device has given its final answer, whatever it says."""
        message.attempts += 1
        self._reply(transmit_response(message.link or None, message.remote, 200, content_type, answer))
        self._end(message, Change(message, State.RESPONSE_SENT, response=answer, status_code=200))

    def failed(self, message: InboundMessage, reason: str, state: State) -> None:
        """It ends without the device's answer, as `REJECTED` or `DEAD_LETTER`."""
        self._reply(transmit_failed(message.link or None, message.remote, reason))
        self._end(message, Change(message, state, status_code=400, error=reason))

    def again(self, message: InboundMessage, reason: str, delay: float) -> None:
        """It is tried again in `delay` seconds."""
        self._statistics.failed(PUSH_CHANNEL)
        at = self._clock.time() + delay
        self._committer.change(Change(message, State.ERROR, error=reason, next_attempt_at=at))

    def answered_before(self, message: InboundMessage, content_type: str, answer: str) -> None:
        """The server asks again for what the device has answered already."""
        self._reply(transmit_response(message.link or None, message.remote, 200, content_type, answer))

    def refused(self, callback: str | None, remote: object, reason: str) -> None:
        """It never came into the queue."""
        self._reply(transmit_failed(callback, remote, reason))

    def _end(self, message: InboundMessage, change: Change) -> None:
        message.body = None
        self._statistics.settled(PUSH_CHANNEL, [(message, change.state)], self._clock.monotonic())
        self._committer.change(change)
