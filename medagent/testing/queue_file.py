"""What a queue file of an ended agent holds, read without medagent's own store."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from medagent.types import State


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One row."""

    seq: int
    channel: str
    control_id: str
    state: State
    callback: str
    body: bytes
    response: str | None
    error: str | None
    attempts: int


def read_messages(path: Path) -> list[StoredMessage]:
    """All messages, in the order of acceptance. Nobody may hold the file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT m.seq, channel, control_id, state, callback, data, response, error, attempts"
            " FROM message m JOIN body b ON b.seq = m.seq ORDER BY m.seq"
        )
        return [StoredMessage(seq, channel, control_id, State(state), *rest) for seq, channel, control_id, state, *rest in rows]


def counters_agree(path: Path) -> bool:
    """Whether the file's own counters say what its rows say."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        counted = set(connection.execute("SELECT channel, state, count FROM counter WHERE count <> 0"))
        actual = set(connection.execute("SELECT channel, state, count(*) FROM message GROUP BY channel, state"))
    return counted == actual
