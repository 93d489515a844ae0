"""The queue's live backlog and its limits: when it is full, new messages are refused or the channels pause; delivery goes on.

Counted in memory, if there is a limit: every message from its acceptance to its end. State only: no I/O, no clock, no query a
message.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from medagent.config.model import BacklogConfig
from medagent.queue.base import ChannelDepth
from medagent.queue.brake import Brake
from medagent.queue.parts import with_parts
from medagent.types import InboundMessage, Refusal, RefusalKind

log = logging.getLogger(__name__)

LOW_WATER = 0.8
"""Of each limit: a full queue takes messages again when it holds no more than this of it."""
FULL_REFUSAL = Refusal(RefusalKind.STORAGE, "the queue is full; send the message again later")
_HOLDER = "backlog"
_MIB = 1024 * 1024


class Backlog:
    """What the queue holds, and whether it is full."""

    def __init__(self, config: BacklogConfig, brake: Brake) -> None:
        self._brake = brake
        self._use(config)
        self._age = 0.0
        self.messages = 0
        """Live ones, those not committed yet included."""
        self.bytes = 0
        """Of their bodies."""
        self.reason = ""
        """Why the queue is full; "" while it is not."""
        self.refused = 0
        """Messages refused because of it."""

    def _use(self, config: BacklogConfig) -> None:
        self._config = config
        self._limited = config.limited
        self._refuses = self._limited and config.full_behavior == "refuse"

    def must_count(self, config: BacklogConfig) -> bool:
        """Whether `reconfigure` must be told what the queue holds."""
        return config.limited and not self._limited

    def reconfigure(self, config: BacklogConfig, depths: Mapping[str, ChannelDepth]) -> None:
        """Work by other limits. `depths` are as of now, when nothing waits for its commit; used if `must_count` says so."""
        counting_begins = self.must_count(config)
        if self.reason:
            self.reason = ""
            self._brake.release(_HOLDER)
        self._use(config)
        self._age = 0.0  # until it is looked at again
        if counting_begins:
            self.begin(depths)
        else:
            self._judge()

    @property
    def limited(self) -> bool:
        """Whether there is any limit, so that `left` is to be told."""
        return self._limited

    @property
    def consequence(self) -> str:
        """What a full queue means for devices."""
        return "new messages are refused" if self._refuses else "channels read nothing more for now, and devices wait"

    @property
    def watches_age(self) -> bool:
        """Whether `aged` is to be told."""
        return self._config.max_age_secs > 0

    def begin(self, depths: Mapping[str, ChannelDepth]) -> None:
        """What the queue's file holds at the start, of channels that are no longer configured too."""
        if not self._limited:
            return
        self.messages = sum(depth.live for depth in depths.values())
        self.bytes = sum(depth.live_bytes for depth in depths.values())
        self._judge()

    def aged(self, seconds: float) -> None:
        """How old the oldest live message is; 0.0 if there is none."""
        self._age = seconds
        self._judge()

    def admit(self, messages: list[InboundMessage]) -> tuple[list[InboundMessage], list[InboundMessage]]:
        """The messages of one read that may be queued, counted from now on, and those that must be refused.

        Messages that are committed together are admitted or refused together. When the channels are to pause, what they
        have read already is admitted.
        """
        if not self._limited:
            return messages, []
        if not self._refuses:
            self._enter(with_parts(messages))
            self._judge()
            return messages, []
        admitted: list[InboundMessage] = []
        refused: list[InboundMessage] = []
        for message in messages:
            stored = with_parts((message,))
            # without a body it is no message, and takes no room
            if self.reason and any(each.body is not None for each in stored):
                refused.append(message)
                self.refused += len(stored)
            else:
                admitted.append(message)
                self._enter(stored)
                self._judge()
        return admitted, refused

    def _enter(self, stored: Sequence[InboundMessage]) -> None:
        for message in stored:
            if message.body is not None:
                self.messages += 1
                self.bytes += message.size

    def left(self, messages: Sequence[InboundMessage]) -> None:
        """Admitted messages that have ended, or were not stored after all."""
        if not self._limited:
            return
        self.messages -= len(messages)
        self.bytes -= sum(message.size for message in messages)
        self._judge()

    def _judge(self) -> None:
        """Note whether the queue is full, and tell of a change."""
        if self.reason:
            if not any(limit and value > limit * LOW_WATER for value, limit, _, _ in self._levels()):
                self.reason = ""
                log.warning("the queue takes messages again; %d refused so far because it was full", self.refused)
                self._brake.release(_HOLDER)
        elif self._limited:
            for value, limit, words, setting in self._levels():
                if limit and value >= limit:
                    self.reason = f"{words}: {value:.0f} ({setting} {limit})"
                    self._filled()
                    return

    def _levels(self) -> tuple[tuple[float, int, str, str], ...]:
        """What is limited: its value now, its limit (0 for none), its name and that of its setting."""
        config = self._config
        return (
            (self.messages, config.max_messages, "live messages", "queueMaxMessages"),
            (self.bytes / _MIB, config.max_mb, "MiB of live messages", "queueMaxMb"),
            (self._age, config.max_age_secs, "age of the oldest live message in seconds", "queueMaxAgeSecs"),
        )

    def _filled(self) -> None:
        log.warning("the queue is full: %s; %s", self.reason, self.consequence)
        if not self._refuses:
            self._brake.hold(_HOLDER)
