"""The queue's figures as one plain value, the same for the statistics line, `medagent queue stats` and `medagent status`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from medagent.queue.base import ChannelDepth
from medagent.statistics import Statistics
from medagent.types import State

# plain JSON: the figures nest by kind
Report = dict[str, Any]

_CAMEL = {state: "durableQueue" + "".join(word.capitalize() for word in state.name.split("_")) for state in State}
"""`durableQueueReceived` and so on: the names in the statistics line."""


def queue_report(depths: Mapping[str, ChannelDepth], now: float | None = None) -> Report:
    """What is on disk. `now`: seconds since the epoch."""
    now = time.time() if now is None else now
    channels = {name: _depth_report(depth, now) for name, depth in depths.items()}
    counts = {state: sum(depth.counts.get(state, 0) for depth in depths.values()) for state in State}
    oldest = [depth.oldest_accepted_at for depth in depths.values() if depth.oldest_accepted_at is not None]
    removed = sum(depth.removed for depth in depths.values())
    live_bytes = sum(depth.live_bytes for depth in depths.values())
    whole = ChannelDepth(counts, min(oldest, default=None), removed, live_bytes)
    return _depth_report(whole, now) | {"channels": channels}


def _depth_report(depth: ChannelDepth, now: float) -> Report:
    counts, oldest = depth.counts, depth.oldest_accepted_at
    return {
        "accepted": sum(counts.values()) + depth.removed,
        "removed": depth.removed,
        "depth": depth.live,
        "live_bytes": depth.live_bytes,
        "oldest_age_seconds": None if oldest is None else round(max(0.0, now - oldest), 3),
        "states": {state.name.lower(): counts.get(state, 0) for state in State},
    }


def add_statistics(report: Report, statistics: Statistics, uptime: float) -> Report:
    """Add what the running agent has measured since its start, `uptime` seconds ago."""
    for name, measured in statistics.channels.items():
        channel = report["channels"].setdefault(name, _depth_report(ChannelDepth({}, None), 0.0))
        ended = sum(measured.ended.values())
        channel["since_start"] = {
            "accepted": measured.accepted,
            "ended": ended,
            "duplicates": measured.duplicates,
            "failed_attempts": measured.failed,
            "timed_out_attempts": measured.timed_out,
            "accepted_per_second": round(measured.accepted / uptime, 1) if uptime else 0.0,
            "ended_per_second": round(ended / uptime, 1) if uptime else 0.0,
            "commit_ms": measured.commit.summary(),
            "answer_ms": measured.answer.summary(),
        }
    return report


def add_notices(report: Report, notices: Mapping[str, Mapping[str, int]]) -> None:
    """Add what the channels have noted about their devices: by channel, then by kind."""
    for name, counts in notices.items():
        if counts:
            report["channels"].setdefault(name, _depth_report(ChannelDepth({}, None), 0.0))["notices"] = dict(counts)


def statistics_line(report: Report) -> str:
    """One line for the log: `Agent stats durableQueueReceived=0 ... lab: depth=0 ...`."""
    parts = [f"{_CAMEL[state]}={report['states'][state.name.lower()]}" for state in State]
    parts.append(f"depth={report['depth']}")
    for name, channel in report["channels"].items():
        parts.append(_channel_part(name, channel))
    return "Agent stats " + " ".join(parts)


def _channel_part(name: str, channel: Report) -> str:
    words = [f"depth={channel['depth']}", f"oldest={_seconds(channel['oldest_age_seconds'])}"]
    if since := channel.get("since_start"):
        words += [f"in={since['accepted_per_second']}/s", f"out={since['ended_per_second']}/s"]
        for what in ("commit", "answer"):
            figures = since[f"{what}_ms"]
            words.append(f"{what}=p50:{figures['p50']}ms,p99:{figures['p99']}ms")
    return f"[{name} {' '.join(words)}]"


def _seconds(age: float | None) -> str:
    return "none" if age is None else f"{age:.1f}s"
