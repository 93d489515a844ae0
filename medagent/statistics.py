"""Counts and latencies, in memory, since the agent's start. One call per batch, never a log line or a lock per message."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medagent.types import InboundMessage, State

_GROWTH = math.log(1.05)
_SMALLEST = 0.00005
_BUCKETS = 320


class Histogram:
    """Durations in buckets that grow by 5 %, from 0.05 ms to about 300 s: percentiles are right to 5 %."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * _BUCKETS
        self.total = 0

    def record(self, seconds: float, times: int = 1) -> None:
        bucket = int(math.log(seconds / _SMALLEST) / _GROWTH) + 1 if seconds > _SMALLEST else 0
        self.counts[min(bucket, _BUCKETS - 1)] += times
        self.total += times

    def record_since(self, beginnings: Iterable[float], now: float) -> None:
        """Durations from these moments to `now`. Messages of one read have the same, and cost as much as one."""
        for moment, times in Counter(beginnings).items():
            self.record(now - moment, times)

    def percentile(self, fraction: float) -> float | None:
        """Upper bound of the bucket that holds this fraction of the durations, milliseconds; None without any."""
        if not self.total:
            return None
        rank = math.ceil(self.total * fraction)
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                return round(_SMALLEST * math.exp(bucket * _GROWTH) * 1000, 3)
        raise AssertionError("the buckets hold the total")

    def summary(self) -> dict[str, float | int | None]:
        """`{"count": 3, "p50": 1.2, ...}`, milliseconds."""
        return {"count": self.total, "p50": self.percentile(0.5), "p90": self.percentile(0.9), "p99": self.percentile(0.99)}


@dataclass(slots=True)
class ChannelStatistics:
    """What happened on one channel."""

    accepted: int = 0
    duplicates: int = 0
    failed: int = 0
    timed_out: int = 0
    ended: Counter[State] = field(default_factory=Counter)
    commit: Histogram = field(default_factory=Histogram)
    """From the read to the commit."""
    answer: Histogram = field(default_factory=Histogram)
    """From the read to the server's verdict."""


class Statistics:
    """What happened in this agent."""

    def __init__(self) -> None:
        self.channels: dict[str, ChannelStatistics] = {}
        self.server_errors = 0

    def channel(self, name: str) -> ChannelStatistics:
        return self.channels.setdefault(name, ChannelStatistics())

    def committed(self, channel: str, messages: Sequence[InboundMessage], now: float) -> None:
        """`now`: monotonic seconds."""
        statistics = self.channel(channel)
        statistics.accepted += len(messages)
        statistics.commit.record_since([message.received_at for message in messages], now)

    def settled(self, channel: str, settled: Sequence[tuple[InboundMessage, State]], now: float) -> None:
        statistics = self.channel(channel)
        statistics.ended.update([state for _, state in settled])
        beginnings = [
            message.received_at
            for message, state in settled
            if message.received_at and state is not State.FILTERED  # the server gave no verdict on it
        ]
        statistics.answer.record_since(beginnings, now)

    def duplicate(self, channel: str) -> None:
        self.channel(channel).duplicates += 1

    def failed(self, channel: str) -> None:
        self.channel(channel).failed += 1

    def timed_out(self, channel: str) -> None:
        self.channel(channel).timed_out += 1
