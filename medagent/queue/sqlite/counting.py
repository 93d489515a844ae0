"""How many messages of each channel are in which state, counted as they move: a look at all rows would take too long."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medagent.errors import QueueError
from medagent.queue.base import Change, ChannelDepth
from medagent.queue.sqlite import statements
from medagent.queue.sqlite.sizes import LiveBytes
from medagent.types import InboundMessage, State

Counts = dict[tuple[str, State], int]
"""By channel and state."""
REMOVED_REGISTER = "removed"
"""The register that counts the messages of a channel that retention has deleted."""
SELECT_STATES = """
SELECT json_group_array(seq), json_group_array(CASE typeof(state) WHEN 'integer' THEN state ELSE -1 END)
FROM json_each(?) JOIN message ON seq = value
"""
"""One row, since each row that is read costs a wait for the interpreter's lock (`medagent.queue.sqlite.rows`).

What is no number becomes a state that there is not, which is damage."""
_STATES = {int(state): state for state in State}
LIVE = tuple(state for state in State if not state.ended)


def read_counts(connection: sqlite3.Connection) -> Counts:
    """What the file's counters say. Raises `ValueError` for what cannot be a count."""
    rows = connection.execute("SELECT channel, state, count FROM counter").fetchall()
    if not all(isinstance(count, int) and count >= 0 for _, _, count in rows):
        raise ValueError("a count is no number")
    return {(channel, State(state)): count for channel, state, count in rows}


def states_of(connection: sqlite3.Connection, changes: Sequence[Change]) -> dict[int, State]:
    """Where the messages of these changes stand in the file, by seq: what memory says of that may be older."""
    if not changes:
        return {}
    seqs = json.dumps([change.message.seq for change in changes])
    [(found, states)] = connection.execute(SELECT_STATES, (seqs,)).fetchall()
    return {seq: _STATES[state] for seq, state in zip(json.loads(found), json.loads(states), strict=True)}


def counted(
    before: Counts, stored: Sequence[InboundMessage], changes: Sequence[Change], states: Mapping[int, State]
) -> tuple[Counts, set[tuple[str, State]]]:
    """The counts after new messages and changes of state, and which of them have changed. `states`: by seq, before."""
    counts = dict(before)
    touched = set()
    for message in stored:
        key = (message.channel, State.RECEIVED)
        counts[key] = counts.get(key, 0) + 1
        touched.add(key)
    for change in changes:
        old, new = states.get(change.message.seq), change.state
        if old is None or old is new:
            continue
        touched |= move(counts, change.message.channel, old, new)
    return counts, touched


def move(counts: Counts, channel: str, old: State, new: State, number: int = 1) -> set[tuple[str, State]]:
    """Count messages that go from one state to another; returns which counts have changed."""
    counts[channel, old] = counts.get((channel, old), 0) - number
    counts[channel, new] = counts.get((channel, new), 0) + number
    return {(channel, old), (channel, new)}


def write_counters(connection: sqlite3.Connection, counts: Counts, touched: Iterable[tuple[str, State]]) -> None:
    """Put those that have changed into the file."""
    for channel, state in touched:
        connection.execute(statements.SET_COUNTER, (channel, state, counts[channel, state]))


def depths_of(
    connection: sqlite3.Connection, counts: Counts, registers: Mapping[tuple[str, str], int], sizes: LiveBytes
) -> dict[str, ChannelDepth]:
    """How each channel stands, from the counters and the oldest live row."""
    depths: dict[str, ChannelDepth] = {}
    for channel in sorted({channel for channel, _ in counts}):
        of_channel = {state: counts.get((channel, state), 0) for state in State}
        oldest = [
            row[0]
            for state in LIVE
            if of_channel[state] and (row := connection.execute(statements.OLDEST, (channel, state)).fetchone())
        ]
        removed = registers.get((channel, REMOVED_REGISTER), 0)
        depths[channel] = ChannelDepth(of_channel, min(oldest, default=None), removed, sizes.of(channel))
    return depths


def read_depths(path: Path) -> dict[str, ChannelDepth]:
    """The same for a queue that no agent holds: the caller has the lock. Raises `QueueError`."""
    if not path.exists():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA query_only = ON")
            rows = connection.execute("SELECT channel, name, value FROM register")
            registers = {(channel, name): value for channel, name, value in rows}
            sizes = LiveBytes()
            sizes.load(connection, ())
            return depths_of(connection, read_counts(connection), registers, sizes)
    except sqlite3.Error as error:
        raise QueueError(
            f"cannot read the queue {path} ({getattr(error, 'sqlite_errorname', None) or type(error).__name__})"
        ) from error
