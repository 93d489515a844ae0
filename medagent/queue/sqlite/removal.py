"""Deleting ended messages from the queue file, a bounded step at a time. All run on the store's thread."""

from __future__ import annotations

import sqlite3
from collections import Counter

from medagent.failpoints import reach
from medagent.queue.base import Removal, Removed
from medagent.queue.sqlite.counting import REMOVED_REGISTER, Counts, write_counters
from medagent.queue.sqlite.registers import Registers
from medagent.queue.sqlite.statements import SET_REGISTER
from medagent.queue.sqlite.transaction import transaction
from medagent.types import State

_SEEN = """
SELECT seq, channel, state, coalesce(changed_at, accepted_at), accepted_at, length(data)
FROM message LEFT JOIN body USING (seq) WHERE seq > ? AND seq < (SELECT max(seq) FROM message) ORDER BY seq LIMIT ?
"""
ERRORED = (State.REJECTED, State.DEAD_LETTER)
"""Ended states that somebody may still want to look into."""
_FREE_SHARE = 10
"""One so-manyth of the file stays free, for the messages to come."""
_PAGES_A_STEP = 200


def remove_ended(
    connection: sqlite3.Connection, removal: Removal, after: int, limit: int, counts: Counts, registers: Registers
) -> tuple[Removed, Counts, Registers]:
    """As `QueueStore.remove_ended`; returns the counts and registers after it too. The newest row keeps the highest seq."""
    seen = connection.execute(_SEEN, (after, limit)).fetchall()
    ended: list[tuple[int]] = []
    moved: Counter[tuple[str, State]] = Counter()
    size = 0
    up_to: int | None = None
    for seq, channel, number, ended_at, _, length in seen:
        state = State(number)
        if state.ended and ended_at < (removal.errored_before if state in ERRORED else removal.ended_before):
            ended.append((seq,))
            moved[channel, state] += 1
            size += length or 0
            if size >= removal.enough_bytes:
                up_to = seq
                break
    else:
        latest = max(removal.ended_before, removal.errored_before)
        up_to = None if len(seen) < limit or seen[-1][4] > latest else seen[-1][0]
    if not ended:
        return Removed(0, up_to), counts, registers
    counts, registers = dict(counts), dict(registers)
    with transaction(connection):
        connection.cursor().executemany("DELETE FROM body WHERE seq = ?", ended)
        connection.cursor().executemany("DELETE FROM message WHERE seq = ?", ended)
        reach("in_retention")
        for (channel, state), count in moved.items():
            counts[channel, state] -= count
            key = (channel, REMOVED_REGISTER)
            registers[key] = registers.get(key, 0) + count
            connection.execute(SET_REGISTER, (*key, registers[key]))
        write_counters(connection, counts, moved)
    return Removed(len(ended), up_to), counts, registers


def used_bytes(connection: sqlite3.Connection) -> int:
    """What the messages take: the file without its free pages."""
    return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * _pragma(connection, "page_size")


def give_back(connection: sqlite3.Connection) -> bool:
    """Return some free pages to the disk, if many are free; whether there are more. Files of version 1 only keep them."""
    free = _pragma(connection, "freelist_count")
    kept = _pragma(connection, "page_count") // _FREE_SHARE
    if free <= kept or _pragma(connection, "auto_vacuum") != 2:
        return False
    # its rows have no columns: `execute` would stop at the first one
    connection.executescript(f"PRAGMA incremental_vacuum({min(_PAGES_A_STEP, free - kept)})")
    return free - _PAGES_A_STEP > kept


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
