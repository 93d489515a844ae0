"""The SQL of the queue file: its schema, and one function per kind of write.

Each function writes a whole batch with one prepared statement; a batch of one takes the cheaper single call. All run on the
store's thread, inside the transaction that the caller has begun. Message rows are narrow and bodies lie apart, so that a
change of state never rewrites a body.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Sequence

from medagent.queue.base import Change, Duplicate
from medagent.types import InboundMessage, State

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6D656441
"""`medA`, so that `file` and a careful opener know the file."""

SCHEMA = f"""
CREATE TABLE message (
    seq INTEGER PRIMARY KEY,
    channel TEXT NOT NULL,
    control_id TEXT NOT NULL,
    digest INTEGER NOT NULL,
    copy INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    accepted_at REAL NOT NULL,
    changed_at REAL,
    next_attempt_at REAL,
    status_code INTEGER,
    remote TEXT NOT NULL,
    link TEXT NOT NULL,
    callback TEXT NOT NULL,
    response TEXT,
    error TEXT
);
CREATE TABLE body (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE UNIQUE INDEX message_identity ON message (channel, control_id, digest, copy);
CREATE INDEX message_live ON message (channel, state, seq) WHERE state < 10;
CREATE TABLE counter (channel TEXT NOT NULL, state INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (channel, state))
    WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

INSERT_MESSAGE = """
INSERT INTO message (seq, channel, control_id, digest, copy, accepted_at, remote, link, callback)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (channel, control_id, digest, copy) DO NOTHING
"""
INSERT_BODY = "INSERT INTO body (seq, data) VALUES (?, ?)"
SELECT_TWINS = """
SELECT seq, state, response FROM message
WHERE channel = ? AND control_id = ? AND digest = ? ORDER BY copy DESC LIMIT 1
"""
JOIN = "UPDATE message SET remote = ?, link = ? WHERE seq = ?"
MARK_RECEIVED = "UPDATE message SET state = 0, attempts = ?, changed_at = ? WHERE seq = ?"
MARK_SENT = "UPDATE message SET state = 1, attempts = ?, changed_at = ? WHERE seq = ?"
MARK_ERROR = """
UPDATE message SET state = 3, attempts = ?, changed_at = ?, status_code = ?, error = ?, next_attempt_at = ? WHERE seq = ?
"""
MARK_ANSWERED = """
UPDATE message SET state = ?, attempts = max(attempts, ?), changed_at = ?, status_code = coalesce(?, status_code),
    response = coalesce(?, response), error = ?
WHERE seq = ?
"""
SET_COUNTER = """
INSERT INTO counter (channel, state, count) VALUES (?, ?, ?)
ON CONFLICT (channel, state) DO UPDATE SET count = excluded.count
"""
RECOVER = "UPDATE message SET state = ? WHERE channel = ? AND state = ? AND state < 10"
_COLUMNS = "m.seq, m.control_id, m.remote, m.link, m.callback, m.accepted_at, m.attempts, m.state, b.data, m.channel"
# the only text put into these is a constant of this module
FETCH = f"""
SELECT {_COLUMNS} FROM message m JOIN body b ON b.seq = m.seq
WHERE m.channel = ? AND m.state = 0 AND m.state < 10 AND m.seq > ? ORDER BY m.seq LIMIT ?
"""  # noqa: S608
FETCH_ONE = f"SELECT {_COLUMNS} FROM message m JOIN body b ON b.seq = m.seq WHERE m.seq = ? AND m.state < 10"  # noqa: S608
RETRIES = "SELECT seq, next_attempt_at FROM message WHERE channel = ? AND state = 3 AND state < 10 ORDER BY seq"
OLDEST = "SELECT accepted_at FROM message WHERE channel = ? AND state = ? AND state < 10 ORDER BY seq LIMIT 1"


def digest_of(body: bytes) -> int:
    """64 bits that stand for a body, as SQLite's signed integer."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)


def _storable(text: str | None) -> str | None:
    # a JSON text may hold half a surrogate pair, which UTF-8 and so SQLite cannot
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


def _write(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    if len(rows) == 1:
        connection.execute(statement, rows[0])
    elif rows:
        connection.cursor().executemany(statement, rows)


def insert_batch(connection: sqlite3.Connection, messages: Sequence[InboundMessage]) -> list[Duplicate]:
    """Insert messages and bodies; returns those that were already there and so were not inserted.

    A message without a control ID has no identity, and a resend of one that the server refused is a new try: both are stored
    as a copy of their own.
    """
    rows = [_row(message) for message in messages]
    before = connection.total_changes
    _write(connection, INSERT_MESSAGE, rows)
    if connection.total_changes - before == len(rows):
        _write(connection, INSERT_BODY, [(message.seq, message.body) for message in messages])
        return []
    return _insert_around_duplicates(connection, messages, rows)


_Row = tuple[int, str, str, int, int, float, str, str, str]


def _row(message: InboundMessage) -> _Row:
    copy = 0 if message.control_id else message.seq
    return (
        message.seq,
        message.channel,
        message.control_id,
        digest_of(message.body or b""),
        copy,
        message.accepted_at,
        message.remote,
        message.link,
        message.callback,
    )


def _insert_around_duplicates(
    connection: sqlite3.Connection, messages: Sequence[InboundMessage], rows: Sequence[_Row]
) -> list[Duplicate]:
    # a strategy may have changed the order
    first, last = min(row[0] for row in rows), max(row[0] for row in rows)
    span = connection.execute("SELECT seq FROM message WHERE seq BETWEEN ? AND ?", (first, last))
    inserted = {seq for (seq,) in span}
    duplicates: list[Duplicate] = []
    bodies: list[tuple[int, bytes | None]] = []
    for message, row in zip(messages, rows, strict=True):
        if message.seq not in inserted:
            seq, state, response = connection.execute(SELECT_TWINS, (message.channel, message.control_id, row[3])).fetchone()
            if state not in (State.REJECTED, State.DEAD_LETTER):
                if state < State.RESPONSE_SENT:
                    connection.execute(JOIN, (message.remote, message.link, seq))
                duplicates.append(Duplicate(message, seq, State(state), response))
                continue
            connection.execute(INSERT_MESSAGE, (*row[:4], message.seq, *row[5:]))
        bodies.append((message.seq, message.body))
    _write(connection, INSERT_BODY, bodies)
    return duplicates


def mark_received_batch(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Back to `received`: they will be sent again."""
    now = time.time()
    _write(connection, MARK_RECEIVED, [(change.attempts, now, change.message.seq) for change in changes])


def mark_sent_batch(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """They were written to the uplink."""
    now = time.time()
    _write(connection, MARK_SENT, [(change.attempts, now, change.message.seq) for change in changes])


def mark_error_batch(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """They failed and will be tried again."""
    now = time.time()
    rows = [(c.attempts, now, c.status_code, _storable(c.error), c.next_attempt_at, c.message.seq) for c in changes]
    _write(connection, MARK_ERROR, rows)


def mark_answered_batch(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """The server has spoken: `response_queued` or one of the ended states."""
    now = time.time()
    rows = [
        (c.state, c.attempts, now, c.status_code, _storable(c.response), _storable(c.error), c.message.seq) for c in changes
    ]
    _write(connection, MARK_ANSWERED, rows)


def mark_batch(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    """Write changes of every kind, a statement a kind. No message may be in it twice."""
    by_kind: dict[State, list[Change]] = {}
    for change in changes:
        by_kind.setdefault(change.state, []).append(change)
    for state, some in by_kind.items():
        _MARKS.get(state, mark_answered_batch)(connection, some)


_MARKS = {State.RECEIVED: mark_received_batch, State.SENT: mark_sent_batch, State.ERROR: mark_error_batch}
