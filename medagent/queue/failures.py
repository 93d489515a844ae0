"""What becomes of a message that failed for a passing reason: tried again later, or given up, as its channel's settings say."""

from __future__ import annotations

import logging
import time

from medagent.clock import Clock
from medagent.config.model import AgentConfig, RetryConfig
from medagent.queue.base import Change
from medagent.queue.committer import Committer
from medagent.queue.lane import Lane
from medagent.queue.settlement import Settlement
from medagent.statistics import Statistics
from medagent.throttle import Throttle
from medagent.types import Answer, InboundMessage, State

log = logging.getLogger(__name__)

LOST = "the connection was lost before there was an answer"
LOST_ALONE = "the connection was lost each time while this message was alone on its way"
LATE = "there was no answer in time"
PASSING_ERRORS = frozenset({"Channel not found"})
"""Texts of `agent:error` that say nothing against the message: the Agent resource on the server is to be mended."""
SECONDS_BETWEEN_NOTES = 10.0


class Failures:
    """Counts failures, and decides on them by `medagent.config.model.RetryConfig`."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        committer: Committer,
        settlement: Settlement,
        statistics: Statistics,
        clock: Clock = time,
    ) -> None:
        self._config = config
        self._committer = committer
        self._settlement = settlement
        self._statistics = statistics
        self._clock = clock
        self._retries: dict[str, RetryConfig] = {}
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)

    def reconfigure(self, config: AgentConfig) -> None:
        """Decide by other settings from the next failure on."""
        self._config = config
        self._retries.clear()

    def retry_of(self, channel: str) -> RetryConfig:
        """The settings that hold for a channel."""
        if channel not in self._retries:
            self._retries[channel] = self._config.retry_of(channel)
        return self._retries[channel]

    def due(self, channel: str, at: float) -> float:
        """Monotonic seconds of a retry noted for `at`, seconds since the epoch: a clock that was moved delays none for long."""
        left = min(max(0.0, at - self._clock.time()), self.retry_of(channel).max_delay_ms / 1000)
        return self._clock.monotonic() + left

    def failed(self, lane: Lane, message: InboundMessage, status_code: int | None, reason: str) -> bool:
        """A failure that counts: the message is tried again later, or has ended; returns whether it has."""
        retry = self.retry_of(lane.channel)
        message.attempts += 1
        self._statistics.failed(lane.channel)
        if not retry.ends(message.attempts):
            self._wait(lane, message, retry.delay(message.attempts), status_code, reason)
            return False
        self._note_end(lane.channel, message)
        self._settlement.settle(lane.channel, [(message, Answer(False, "", reason), status_code)], State.DEAD_LETTER)
        lane.ended(message.seq)
        return True

    def lost(self, lane: Lane, message: InboundMessage, times: int, reason: str) -> None:
        """Whether the server has the message is unknown, and guaranteed delivery does not count that; it waits all the same."""
        self._statistics.failed(lane.channel)
        self._wait(lane, message, self.retry_of(lane.channel).delay(times), None, reason)

    def late(self, lane: Lane, message: InboundMessage) -> None:
        """There was no answer in time, and guaranteed delivery does not count that: it goes again at once."""
        self._wait(lane, message, 0.0, None, LATE)

    def _wait(self, lane: Lane, message: InboundMessage, delay: float, status_code: int | None, reason: str) -> None:
        at = self._clock.time() + delay
        change = Change(message, State.ERROR, status_code=status_code, error=reason, next_attempt_at=at)
        self._committer.change(change)
        lane.retry(message.seq, self._clock.monotonic() + delay)

    def _note_end(self, channel: str, message: InboundMessage) -> None:
        """One line in ten seconds for each channel: a server that is down must not fill the log."""
        if self._notes.passes(channel, self._clock.monotonic()):
            log.warning(
                "channel %s: message %d is given up after %d failure(s); it ends as dead_letter",
                channel,
                message.seq,
                message.attempts,
            )
