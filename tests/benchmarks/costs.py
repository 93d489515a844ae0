"""What the agent's features cost: its own code, called as the agent calls it, for a commit of 1 message and one of 100.

In microseconds of CPU a message. The parts are called in this process, with the medagent of its environment. Only logging is a
difference of two whole agents, as no part of it is called for each message: what is above the noise there would be a fault.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from agent import Setup, site
from generator import Load
from messages import build
from steps import Steps

from medagent import hookimpl
from medagent.config.model import ChannelConfig
from medagent.guard import Guard
from medagent.plugins import Plugins
from medagent.queue.forwarding import Transforms, make_frames
from medagent.queue.sqlite.counting import counted, write_counters
from medagent.queue.sqlite.insertion import digest_of, used_ids
from medagent.queue.sqlite.sizes import LiveBytes
from medagent.queue.sqlite.statements import crc_of
from medagent.queue.sqlite.store import SqliteStore
from medagent.statistics import Statistics
from medagent.supervisor import HostedChannel
from medagent.testing.doubles import RecordingChannel
from medagent.testing.in_process import free_port
from medagent.transform import made_transform
from medagent.types import DEFAULT_RULES, AcceptanceRules, Duplicates, InboundMessage, State

# a row of the report: plain JSON
Row = dict[str, Any]
Batch = list[InboundMessage]
Work = Callable[[Batch], object]

NAME = "costs"
SIZES = (1, 100)
"""Messages of a batch."""
MESSAGES = 20_000
"""In memory, for each cost and round."""
COMMITS = 200
READ = 10
"""Messages that arrive at the same moment."""
LOGGED_MESSAGES = 50_000
OBSERVERS = (1, 5)
"""Plugins; without any, nothing is called."""
MAX_BYTES = 1_000_000
CHANNEL = "adt"
ACCEPT = AcceptanceRules(Duplicates.ACCEPT)
LOGGING = "logging, info and not warning"
WHAT = {
    "commit": "all of it, new messages",
    "duplicate check": "the commit, less one with Duplicates.ACCEPT",
    "digest": "part of the commit, whatever becomes of duplicates",
    "look for used control IDs": "part of the duplicate check",
    "CRC of a row": "part of the commit",
    "counters": "states and bytes of a channel, part of the commit",
    "statistics": "counts and latencies, at the commit and at the answer",
    **{f"observing plugins, {count}": "told of the commit and of the answers" for count in OBSERVERS},
    "frames": "all of it, without plugins",
    "guard": "around a channel's forward",
    "transform": "under its guard, one that changes nothing",
    LOGGING: "two agents, pipelined: noise while no line is written",
}
"""Each cost, in the order of the table."""


class _Observer:
    """A plugin that counts what it is told of."""

    def __init__(self) -> None:
        self.seen = 0

    @hookimpl
    def medagent_messages_accepted(self, messages: Sequence[InboundMessage]) -> None:
        self.seen += len(messages)

    @hookimpl
    def medagent_messages_settled(self, settled: Sequence[tuple[InboundMessage, State]]) -> None:
        self.seen += len(settled)


def batches(size: int, count: int, first: int = 1, rules: AcceptanceRules = DEFAULT_RULES) -> list[Batch]:
    """Accepted messages, so many a batch, from seq `first` on."""
    made: list[Batch] = []
    for begin in range(first, first + size * count, size):
        numbers = range(begin, begin + size)
        batch = []
        for seq, body in zip(numbers, build(b"C-", numbers), strict=True):
            message = InboundMessage(body, f"C-{seq:09d}", "127.0.0.1:50000", "c1", rules=rules)
            message.seq, message.channel, message.callback = seq, CHANNEL, f"Agent/bench-{seq:012x}"
            message.accepted_at, message.received_at = time.time(), time.monotonic() - seq // READ / 1000
            batch.append(message)
        made.append(batch)
    return made


def spent(work: Work, some: Sequence[Batch]) -> float:
    """Microseconds of this thread's CPU that each message takes."""
    began_at = time.thread_time()
    for batch in some:
        work(batch)
    return (time.thread_time() - began_at) / sum(map(len, some)) * 1e6


async def stored(path: Path, size: int, commits: int) -> dict[str, float]:
    """Commits with the duplicate check and without it in turns, into one file; CPU of the loop's thread and the store's."""
    store = SqliteStore(path)
    await store.open()
    try:
        return await _in_turns(store, size, commits)
    finally:
        await store.close()


async def _in_turns(store: SqliteStore, size: int, commits: int) -> dict[str, float]:
    both = {DEFAULT_RULES: 0.0, ACCEPT: 0.0}
    seq = 1
    for number in range(commits):
        # neither is always the one that pays for a checkpoint of the file
        for rules in list(both)[:: 1 if number % 2 else -1]:
            [batch] = batches(size, 1, seq, rules)
            seq += size
            began_at = time.process_time()
            await store.commit(batch, [])
            both[rules] += time.process_time() - began_at
    checked, unchecked = (seconds / commits / size * 1e6 for seconds in both.values())
    return {"commit": checked, "duplicate check": checked - unchecked}


def beside_rows(path: Path, size: int, scale: float) -> dict[str, float]:
    """Parts of a commit, beside what `stored` has stored."""
    some = _some(size, scale, first=2 * COMMITS * SIZES[-1] + 1)
    live = LiveBytes()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")

    def count(batch: Batch) -> None:
        counts, touched = counted({}, batch, (), {})
        write_counters(connection, counts, touched)
        live.write(connection, live.after(batch, (), {}))

    try:
        return {
            "digest": spent(lambda batch: [digest_of(message.body or b"") for message in batch], some),
            "look for used control IDs": spent(lambda batch: used_ids(connection, batch), some),
            "CRC of a row": spent(lambda batch: [_crc(message) for message in batch], some),
            "counters": spent(count, some),
        }
    finally:
        connection.close()


def _some(size: int, scale: float, first: int = 1) -> list[Batch]:
    return batches(size, max(1, round(MESSAGES * scale / size)), first)


def _crc(message: InboundMessage) -> int:
    return crc_of(message.seq, message.channel, message.control_id, message.callback, message.body or b"")


def told(size: int, scale: float) -> dict[str, float]:
    """Who is told of commits and answers: the statistics, and plugins that observe."""
    some = _some(size, scale)
    kept = Statistics()

    def keep(batch: Batch) -> None:
        kept.committed(CHANNEL, batch, time.monotonic())
        kept.settled(CHANNEL, _settled(batch), time.monotonic())

    found = {"statistics": spent(keep, some) - spent(_settled, some)}
    for count in OBSERVERS:
        plugins = Plugins(entry_points=False)
        for number in range(count):
            plugins.register(_Observer(), f"observer_{number}")
        found[f"observing plugins, {count}"] = spent(lambda batch, to=plugins: _observe(to, batch), some)  # type: ignore[misc]
    return found


def _settled(batch: Batch) -> list[tuple[InboundMessage, State]]:
    return [(message, State.RESPONSE_QUEUED) for message in batch]


def _observe(plugins: Plugins, batch: Batch) -> None:
    plugins.call_each("medagent_messages_accepted", channel=CHANNEL, messages=batch)
    plugins.call_each("medagent_messages_settled", channel=CHANNEL, settled=batch)


def framed(size: int, scale: float) -> dict[str, float]:
    """Making frames for the server: with the channel alone, under its guard, and with a transform."""
    some = _some(size, scale)
    channel = RecordingChannel()
    hosted = HostedChannel(ChannelConfig(CHANNEL, "test", "127.0.0.1", 1, "test://127.0.0.1:1"), channel)
    transform = made_transform(Guard("bench", "transform"), lambda: str.strip)
    assert transform is not None

    def frames(through: RecordingChannel | HostedChannel, transforms: Transforms) -> float:
        return spent(lambda batch: make_frames(batch, through, transforms, MAX_BYTES), some)

    alone, guarded, transformed = frames(channel, ()), frames(hosted, ()), frames(hosted, (transform,))
    return {"frames": alone, "guard": guarded - alone, "transform": transformed - guarded}


def once(size: int, scale: float) -> dict[str, float]:
    """Each cost, microseconds a message, in batches of this size."""
    with tempfile.TemporaryDirectory(prefix="medagent-bench-") as folder:
        path = Path(folder) / "queue.db"
        costs = uvloop.run(stored(path, size, max(1, round(COMMITS * scale))))
        return costs | beside_rows(path, size, scale) | told(size, scale) | framed(size, scale)


def logged(python: str, scale: float, levels: Sequence[str]) -> dict[str, float]:
    """What agents with these levels of logging spend, and the lines that the one with `info` writes while messages pass."""
    load = Load(max(100, round(LOGGED_MESSAGES * scale)))
    spends, lines = {}, {}
    for level in levels:
        with site(Setup(log_level=level, port=free_port()), python) as at:
            at.warm_up(load)
            before = at.log_lines
            spends[level] = at.drive(load)["cpu_s_per_10k"] * 100
            lines[level] = at.log_lines - before
    return {LOGGING: spends["info"] - spends["warning"], "lines_per_10k": lines["info"] / load.count * 10_000}


def seconds(scale: float) -> float:
    """That a round takes, about."""
    return 8 + 16 * scale


def measure(python: str, rounds: int, scale: float, steps: Steps) -> list[Row]:
    """A row for each cost, medians of the rounds."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    for number in range(1, rounds + 1):
        with steps.step(f"{NAME} {number}", seconds(scale)):
            for size, each in found.items():
                each.append(once(size, scale))
            # the batches of an agent are as large as its load makes them
            levels = ("warning", "info")[:: 1 if number % 2 else -1]
            found[SIZES[-1]][-1] |= logged(python, scale, levels)
    medians = {size: _medians(each) for size, each in found.items()}
    rows: list[Row] = [
        {"cost": name, "what": what, "us": {str(size): medians[size].get(name) for size in SIZES}}
        for name, what in WHAT.items()
    ]
    rows[-1]["lines_per_10k"] = medians[SIZES[-1]]["lines_per_10k"]
    return rows


def _medians(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in each), 3) for name in each[0]}


def shares(rows: Sequence[Row], pipelined: Mapping[str, float] | None) -> None:
    """Add to each row its share of what a message costs the whole agent, if that was measured."""
    # CPU is counted in hundredths of a second: a tiny run has none
    if pipelined is not None and (whole := pipelined["cpu_s_per_10k"] * 100):
        for row in rows:
            row["share"] = round(row["us"][str(SIZES[-1])] / whole, 4)
