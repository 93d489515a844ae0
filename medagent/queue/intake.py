"""Acceptance: from what a channel has read to what a strategy commits, and from the store's receipt to the acknowledgment."""

from __future__ import annotations

import itertools
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from medagent.channel import Channel
from medagent.clock import Clock
from medagent.failpoints import reach
from medagent.guard import StoppedPlugin
from medagent.queue.backlog import FULL_REFUSAL, Backlog
from medagent.queue.base import Duplicate, QueueStrategy, Receipt
from medagent.queue.brake import Brake
from medagent.queue.oversize import MOST_BYTES_A_BYTE, encoded_size
from medagent.queue.parts import with_parts
from medagent.throttle import Throttle
from medagent.types import InboundMessage, Refusal, RefusalKind

log = logging.getLogger(__name__)

HIGH_WATER_BYTES = 16 * 1024 * 1024
HIGH_WATER_MESSAGES = 4000
"""Above one of these, in messages accepted and not committed yet, channels read nothing more until half of it is left."""

DUPLICATE_REFUSAL = Refusal(RefusalKind.DUPLICATE, "The control ID is that of another message")
TOGETHER_REFUSAL = Refusal(
    RefusalKind.UNACCEPTABLE, "The batch is refused as a whole, since another of its messages cannot be accepted"
)
SECONDS_BETWEEN_NOTES = 10.0
_HOLDER = "buffer"
STORAGE_REFUSAL = Refusal(RefusalKind.STORAGE, "The message could not be stored; send it again")


class Accepted(Protocol):
    """Who works on what was committed."""

    def committed(self, channel: str, messages: Sequence[InboundMessage]) -> None: ...

    def duplicate(self, duplicate: Duplicate) -> None: ...


class Intake:
    """Takes messages from the channels into the queue."""

    def __init__(
        self,
        *,
        agent_id: str,
        first_seq: int,
        channels: Mapping[str, Channel],
        dispatcher: Accepted,
        backlog: Backlog,
        brake: Brake,
        max_body_bytes: int,
        observe: Callable[[str, Sequence[InboundMessage]], None] | None = None,
        registers: dict[str, dict[str, int]] | None = None,
        clock: Clock = time,
    ) -> None:
        """`registers`: as they are on disk, by channel; kept up to date from now on."""
        self._callback_head = f"Agent/{agent_id}-{_run_id()}-"
        self._next_seq = first_seq
        self._channels = channels
        self._dispatcher = dispatcher
        self._backlog = backlog
        self._brake = brake
        self.max_body_bytes = max_body_bytes
        self._observe = observe
        self._registers = registers if registers is not None else {}
        self._clock = clock
        self._strategy: QueueStrategy | None = None
        self._undecided: set[int] = set()
        self.buffered_bytes = 0
        self.refused = 0
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)
        self.reused = 0
        """Messages accepted although their control ID is that of another."""
        self._warned_of_reuse: set[str] = set()
        self.accepting = True

    @property
    def last_seq(self) -> int:
        """The highest seq given so far."""
        return self._next_seq

    @property
    def buffered(self) -> int:
        """Messages accepted, and neither acknowledged nor refused yet."""
        return len(self._undecided)

    def next_seq(self) -> int:
        """The next place in the queue."""
        self._next_seq += 1
        return self._next_seq

    def registers(self, channel: str) -> Mapping[str, int]:
        """The channel's registers as the last commit has left them, now and later."""
        return self._registers.setdefault(channel, {})

    def use(self, strategy: QueueStrategy) -> None:
        """Hand accepted messages to `strategy` from now on."""
        self._strategy = strategy

    def accept(self, channel: str, messages: list[InboundMessage]) -> None:
        """Take the messages of one read, in order."""
        if self._strategy is None or not self.accepting or channel not in self._channels:
            self._refuse(channel, with_parts(messages), STORAGE_REFUSAL)
            return
        limit = self.max_body_bytes // MOST_BYTES_A_BYTE
        stored = with_parts(messages)
        if any(len(message.body or b"") > limit for message in stored):
            messages = self._without_too_large(channel, messages)
            stored = with_parts(messages)
        messages, surplus = self._backlog.admit(messages)
        if surplus:
            self._refuse(channel, with_parts(surplus), FULL_REFUSAL)
            stored = with_parts(messages)
        reach("after_read")
        now, monotonic = self._clock.time(), self._clock.monotonic()
        size = 0
        for message in stored:
            seq = message.seq = self.next_seq()
            message.channel = channel
            message.callback = f"{self._callback_head}{seq:012x}"
            message.accepted_at = now
            message.received_at = monotonic
            self._undecided.add(seq)
            size += len(message.body or b"")
        if stored is not messages:
            for message in messages:
                message.received_at = monotonic
                for part in message.parts:
                    part.whole = message.parts[0].seq
        self.buffered_bytes += size
        try:
            self._strategy.put(messages)
        # a strategy may be a plugin's and raise anything; the devices must hear of it
        except Exception as error:  # noqa: BLE001  as said above
            log.error("the queue strategy failed: %s", type(error).__name__)
            self._not_stored(stored)
            self._refuse(channel, stored, STORAGE_REFUSAL)
            return
        if len(self._undecided) > HIGH_WATER_MESSAGES or self.buffered_bytes > HIGH_WATER_BYTES:
            self._brake.hold(_HOLDER)

    def _without_too_large(self, channel: str, messages: list[InboundMessage]) -> list[InboundMessage]:
        fitting = []
        for message in messages:
            parts = with_parts((message,))
            reasons = [self._reason_against(channel, each) for each in parts]
            if not any(reasons):
                fitting.append(message)
                continue
            # the last one first: who keeps where its senders stand goes back step by step
            for part, found in zip(reversed(parts), reversed(reasons), strict=True):
                reason, changed_by = found or ("", "")
                refusal = Refusal(RefusalKind.UNACCEPTABLE, reason) if reason else TOGETHER_REFUSAL
                self._refuse(channel, (part,), refusal, changed_by)
        return fitting

    def _reason_against(self, channel: str, message: InboundMessage) -> tuple[str, str] | None:
        """Why a long message cannot be sent to the server, and the setting that it is about, if any; None if it can."""
        try:
            size = encoded_size(self._channels[channel].forward(message))
        except StoppedPlugin:
            return None  # it is found when the message's turn comes
        # a channel may be a plugin's and raise anything on one message; the others go on
        except Exception as error:  # noqa: BLE001  as said above
            return f"The message cannot be forwarded ({type(error).__name__})", ""
        if size <= self.max_body_bytes:
            return None
        return f"The message is {size} bytes as JSON text, and the server takes {self.max_body_bytes}", "maxFrameBytes"

    def _refuse(self, channel: str, messages: Sequence[InboundMessage], refusal: Refusal, changed_by: str = "") -> None:
        """`changed_by`: the setting or parameter that it is about, for the log; a device is told of none."""
        self.refused += len(messages)
        if refusal is not FULL_REFUSAL:  # of which the backlog tells once
            self._note_refusal(channel, refusal, changed_by)
        if channel in self._channels:  # one that was removed may still hand over
            self._channels[channel].refused(messages, refusal)

    def _note_refusal(self, channel: str, refusal: Refusal, changed_by: str) -> None:
        """One line in ten seconds for each channel and kind: a full disk must not fill with lines about it."""
        if self._notes.passes((channel, refusal.kind), self._clock.monotonic()):
            reason = f"{refusal.reason} ({changed_by})" if changed_by else refusal.reason
            log.warning("channel %s: messages are refused (%d so far): %s", channel, self.refused, reason)

    def committed(self, receipt: Receipt) -> None:
        """The store's word: acknowledge exactly what the receipt names, in order, and pass it on."""
        by_channel: dict[str, list[InboundMessage]] = {}
        for message in receipt.committed:
            by_channel.setdefault(message.channel, []).append(message)
        for channel, values in receipt.registers.items():
            self._registers.setdefault(channel, {}).update(values)
        if receipt.duplicates or receipt.noted or receipt.rejected or receipt.refused:
            self._tell_in_order(receipt)
        else:
            for channel, messages in by_channel.items():
                self._acknowledge(channel, messages)
        reach("after_ack")
        if receipt.reused:
            self._note_reused(receipt.reused)
        for channel, messages in by_channel.items():
            observed = tuple(messages)
            self._dispatcher.committed(channel, messages)
            if self._observe is not None:
                self._observe(channel, observed)
        for duplicate in receipt.duplicates:
            self._dispatcher.duplicate(duplicate)

    def _acknowledge(self, channel: str, messages: Sequence[InboundMessage]) -> None:
        self._leave(messages)
        if channel in self._channels:
            self._channels[channel].committed(messages)

    def _tell_in_order(self, receipt: Receipt) -> None:
        """Tell each channel what became of its messages, in the order in which it handed them over."""
        outcomes: list[tuple[InboundMessage, Refusal | None]] = []
        for duplicate in receipt.duplicates:
            duplicate.message.copy_of = duplicate.seq
            self._not_stored((duplicate.message,))
            outcomes.append((duplicate.message, None))
        outcomes += [(message, None) for message in (*receipt.committed, *receipt.noted)]
        outcomes += [(message, DUPLICATE_REFUSAL) for message in receipt.rejected]
        outcomes += receipt.refused
        outcomes.sort(key=lambda outcome: (outcome[0].channel, outcome[0].seq))
        for (channel, refusal), run in itertools.groupby(outcomes, lambda outcome: (outcome[0].channel, outcome[1])):
            messages = [message for message, _ in run]
            if refusal is None:
                self._acknowledge(channel, messages)
            else:
                self._not_stored(messages)
                self._refuse(channel, messages, refusal)

    def refuse_uncommitted(self, message: InboundMessage) -> None:
        """The store could not commit this message, or all of its parts."""
        stored = with_parts((message,))
        if stored[0].seq not in self._undecided:
            return  # a strategy has committed it twice
        self._not_stored(stored)
        self._refuse(stored[0].channel, stored, STORAGE_REFUSAL)

    def _note_reused(self, messages: Sequence[InboundMessage]) -> None:
        for message in messages:
            self.reused += 1
            if message.channel not in self._warned_of_reuse:
                self._warned_of_reuse.add(message.channel)
                changed_by = f" ({message.rules.changed_by})" if message.rules.changed_by else ""
                log.warning(
                    "channel %s: a sender uses control IDs again for other messages; all are accepted%s",
                    message.channel,
                    changed_by,
                )

    def _not_stored(self, messages: Sequence[InboundMessage]) -> None:
        """They take no room in the queue; what a strategy has committed twice goes on taking its own."""
        undecided = self._undecided
        self._backlog.left([message for message in messages if message.seq in undecided and message.body is not None])
        self._leave(messages)

    def _leave(self, messages: Iterable[InboundMessage]) -> None:
        for message in messages:
            if message.seq in self._undecided:
                self._undecided.remove(message.seq)
                self.buffered_bytes -= len(message.body or b"")
        if self.buffered <= HIGH_WATER_MESSAGES // 2 and self.buffered_bytes <= HIGH_WATER_BYTES // 2:
            self._brake.release(_HOLDER)


def _run_id() -> str:
    """The first 23 characters of a random UUID; with a seq as the last 12 digits, callbacks look like UUIDs."""
    return str(uuid.UUID(bytes=os.urandom(16), version=4))[:23]
