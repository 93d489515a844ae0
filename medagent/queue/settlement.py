"""What becomes of the server's verdicts: the device is told, and the message gets its final state."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from medagent.channel import Channel
from medagent.clock import Clock
from medagent.queue.base import Change
from medagent.queue.committer import Committer
from medagent.statistics import Statistics
from medagent.types import Answer, Delivery, InboundMessage, State

Verdict = tuple[InboundMessage, Answer, int | None]
"""A message, the server's word on it, and the status code it came with, if any."""

REFUSED = (State.REJECTED, State.DEAD_LETTER)
LASTING = (*REFUSED, State.FILTERED)
"""What a message has ended as, whatever became of its answer."""


class Settlement:
    """Tells devices what the server said, and notes what they got."""

    def __init__(
        self,
        *,
        committer: Committer,
        channels: Mapping[str, Channel],
        statistics: Statistics,
        observe: Callable[[str, Sequence[tuple[InboundMessage, State]]], None] | None = None,
        clock: Clock = time,
    ) -> None:
        self._committer = committer
        self._channels = channels
        self._statistics = statistics
        self._observe = observe
        self._clock = clock
        self._again: dict[int, tuple[int, State]] = {}
        """By the seq of a copy whose answer waits for a slow device: the message with the answer, and where that stood.
        Nothing is stored under the seq of a copy."""

    def settle(self, channel: str, verdicts: Sequence[Verdict], ended: State | None = None) -> None:
        """These messages of one channel have ended, as `ended`; None: refused ones as `REJECTED`, the others as their device's
        `Delivery` says."""
        deliveries = self._answer(channel, [(message, answer) for message, answer, _ in verdicts])
        settled = []
        for (message, answer, status_code), delivery in zip(verdicts, deliveries, strict=True):
            state = ended if ended is not None else delivery.value if answer.accepted else State.REJECTED
            settled.append((message, state))
            self._committer.change(
                Change(
                    message,
                    state,
                    response=answer.body if answer.accepted else None,
                    status_code=status_code,
                    error=answer.reason or None,
                )
            )
        self._statistics.settled(channel, settled, self._clock.monotonic())
        if self._observe is not None:
            self._observe(channel, tuple(settled))

    def _answer(self, channel: str, answers: list[tuple[InboundMessage, Answer]]) -> list[Delivery]:
        host = self._channels.get(channel)
        return host.answer(answers) if host is not None else [Delivery.GONE] * len(answers)

    def delivered(self, outcomes: Sequence[tuple[InboundMessage, Delivery]]) -> None:
        """A slow device has taken its answers, or has gone."""
        for message, delivery in outcomes:
            if (original := self._again.pop(message.seq, None)) is not None:
                self._answered_again(*original, message, delivery)
                continue
            pending = self._committer.pending(message.seq)
            if self._committer.state_of(message) in LASTING:
                continue
            change = Change(message, delivery.value)
            if pending is not None:
                change.response, change.status_code = pending.response, pending.status_code
            self._committer.change(change)

    def answer_again(self, seq: int, message: InboundMessage, state: State, response: str | None) -> None:
        """The device has sent again what the server has answered: `message` is the copy, `seq` the one with the answer."""
        deliveries = self._answer(message.channel, [(message, Answer(state not in REFUSED, response or ""))])
        if deliveries[0] is Delivery.QUEUED:
            self._again[message.seq] = seq, state
        else:
            self._answered_again(seq, state, message, deliveries[0])

    def _answered_again(self, seq: int, state: State, message: InboundMessage, delivery: Delivery) -> None:
        """The device was sent again what it had not got before, or was not."""
        if state is not State.RESPONSE_UNDELIVERED or delivery is not Delivery.SENT:
            return
        if (pending := self._committer.pending(seq)) is not None:
            pending.state = State.RESPONSE_SENT
        else:
            message.seq, message.stored_state = seq, state
            self._committer.change(Change(message, State.RESPONSE_SENT))
