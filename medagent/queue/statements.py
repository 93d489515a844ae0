"""The SQL of the queue file: its schema, and one function per kind of change of state.

Each function writes a whole batch with one prepared statement. All run on the store's thread, inside the transaction that the
caller has begun. Message rows are narrow and bodies lie apart, so that a
change of state never rewrites a body.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from medagent.queue.base import Change
from medagent.types import State

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
    error TEXT,
    number INTEGER
);
CREATE TABLE body (seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE UNIQUE INDEX message_identity ON message (channel, control_id, digest, copy);
CREATE INDEX message_live ON message (channel, state, seq) WHERE state < 10;
CREATE TABLE counter (channel TEXT NOT NULL, state INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (channel, state))
    WITHOUT ROWID;
CREATE TABLE register (channel TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (channel, name))
    WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

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
SET_REGISTER = """
INSERT INTO register (channel, name, value) VALUES (?, ?, ?)
ON CONFLICT (channel, name) DO UPDATE SET value = excluded.value
"""
RECOVER = "UPDATE message SET state = ? WHERE channel = ? AND state = ? AND state < 10"
_COLUMNS = "m.seq, m.control_id, m.remote, m.link, m.callback, m.accepted_at, m.attempts, m.state, b.data, m.channel, m.number"
# the only text put into these is a constant of this module
FETCH = f"""
SELECT {_COLUMNS} FROM message m JOIN body b ON b.seq = m.seq
WHERE m.channel = ? AND m.state = 0 AND m.state < 10 AND m.seq > ? ORDER BY m.seq LIMIT ?
"""  # noqa: S608
FETCH_ONE = f"SELECT {_COLUMNS} FROM message m JOIN body b ON b.seq = m.seq WHERE m.seq = ? AND m.state < 10"  # noqa: S608
RETRIES = "SELECT seq, next_attempt_at FROM message WHERE channel = ? AND state = 3 AND state < 10 ORDER BY seq"
OLDEST = "SELECT accepted_at FROM message WHERE channel = ? AND state = ? AND state < 10 ORDER BY seq LIMIT 1"


def storable(text: str | None) -> str | None:
    """`text` as SQLite can hold it."""
    # a JSON text may hold half a surrogate pair, which UTF-8 and so SQLite cannot
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()


def write_batch(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    """Run one statement for every row; a batch of one takes the cheaper single call."""
    if len(rows) == 1:
        connection.execute(statement, rows[0])
    elif rows:
        connection.cursor().executemany(statement, rows)


def mark_received_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """Back to `received`: they will be sent again."""
    write_batch(connection, MARK_RECEIVED, [(change.attempts, now, change.message.seq) for change in changes])


def mark_sent_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """They were written to the uplink."""
    write_batch(connection, MARK_SENT, [(change.attempts, now, change.message.seq) for change in changes])


def mark_error_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """They failed and will be tried again."""
    rows = [(c.attempts, now, c.status_code, storable(c.error), c.next_attempt_at, c.message.seq) for c in changes]
    write_batch(connection, MARK_ERROR, rows)


def mark_answered_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """The server has spoken: `response_queued` or one of the ended states."""
    rows = [(c.state, c.attempts, now, c.status_code, storable(c.response), storable(c.error), c.message.seq) for c in changes]
    write_batch(connection, MARK_ANSWERED, rows)


def mark_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """Write changes of every kind, a statement a kind. No message may be in it twice. `now`: seconds since the epoch."""
    by_kind: dict[State, list[Change]] = {}
    for change in changes:
        by_kind.setdefault(change.state, []).append(change)
    for state, some in by_kind.items():
        _MARKS.get(state, mark_answered_batch)(connection, some, now)


_MARKS = {State.RECEIVED: mark_received_batch, State.SENT: mark_sent_batch, State.ERROR: mark_error_batch}
