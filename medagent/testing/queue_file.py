"""What a queue file of an ended agent holds, read without medagent's own store."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from medagent.testing.ledger import sha256_of
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


@dataclass(frozen=True, slots=True)
class StoredDigest:
    """One row, its body as a digest."""

    seq: int
    channel: str
    control_id: str
    state: State
    callback: str
    sha256: str


@dataclass(frozen=True, slots=True)
class QueueContents:
    """What a queue file holds, bodies as digests: a large file fits into memory."""

    path: Path
    rows: list[StoredDigest]
    """Messages with their bodies, in the order of acceptance."""
    counted: dict[tuple[str, int], int]
    """What the file's counters say, by channel and state."""
    actual: dict[tuple[str, int], int]
    """What its rows say."""
    without_body: int
    bodies_alone: int


def read_contents(path: Path) -> QueueContents:
    """The whole file. Nobody may hold it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT m.seq, channel, control_id, state, callback, data"
            " FROM message m JOIN body b ON b.seq = m.seq ORDER BY m.seq"
        )
        counted = connection.execute("SELECT channel, state, count FROM counter WHERE count <> 0")
        actual = connection.execute("SELECT channel, state, count(*) FROM message GROUP BY channel, state")
        without = connection.execute("SELECT count(*) FROM message WHERE seq NOT IN (SELECT seq FROM body)")
        alone = connection.execute("SELECT count(*) FROM body WHERE seq NOT IN (SELECT seq FROM message)")
        return QueueContents(
            path=path,
            rows=[
                StoredDigest(seq, channel, control_id, State(state), callback, sha256_of(data))
                for seq, channel, control_id, state, callback, data in rows
            ],
            counted={(channel, state): count for channel, state, count in counted},
            actual={(channel, state): count for channel, state, count in actual},
            without_body=without.fetchone()[0],
            bodies_alone=alone.fetchone()[0],
        )


def counters_agree(path: Path) -> bool:
    """Whether the file's own counters say what its rows say."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        counted = set(connection.execute("SELECT channel, state, count FROM counter WHERE count <> 0"))
        actual = set(connection.execute("SELECT channel, state, count(*) FROM message GROUP BY channel, state"))
    return counted == actual
