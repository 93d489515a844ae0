"""The SQL of the queue file: one function per kind of change of state, and what reads messages back.

Each function writes a whole batch with one prepared statement. All run on the store's thread, inside the transaction that the
caller has begun.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

from medagent.queue.base import Change
from medagent.queue.sqlite.rows import ManyRows
from medagent.types import InboundMessage, State

MARK_RECEIVED = "UPDATE message SET state = 0, attempts = ?, changed_at = ? WHERE seq = ?"
MARK_SENT = ManyRows(
    "UPDATE message SET state = 1, attempts = v.column1, changed_at = v.column2 FROM (VALUES ",
    "(?, ?, ?)",
    ") AS v WHERE seq = v.column3",
    one="UPDATE message SET state = 1, attempts = ?, changed_at = ? WHERE seq = ?",
)
MARK_ERROR = """
UPDATE message SET state = 3, attempts = ?, changed_at = ?, status_code = ?, error = ?, next_attempt_at = ? WHERE seq = ?
"""
MARK_ANSWERED = ManyRows(
    "UPDATE message SET state = v.column1, attempts = max(attempts, v.column2), changed_at = v.column3, "
    "status_code = coalesce(v.column4, status_code), response = coalesce(v.column5, response), error = v.column6 FROM (VALUES ",
    "(?, ?, ?, ?, ?, ?, ?)",
    ") AS v WHERE seq = v.column7",
    one="UPDATE message SET state = ?, attempts = max(attempts, ?), changed_at = ?, status_code = coalesce(?, status_code), "
    "response = coalesce(?, response), error = ? WHERE seq = ?",
)
SET_COUNTER = """
INSERT INTO counter (channel, state, count) VALUES (?, ?, ?)
ON CONFLICT (channel, state) DO UPDATE SET count = excluded.count
"""
SET_REGISTER = """
INSERT INTO register (channel, name, value) VALUES (?, ?, ?)
ON CONFLICT (channel, name) DO UPDATE SET value = excluded.value
"""
# below, `state < 10` opens the index of live rows, and `seq > 0`, which is always so, has SQLite use its three columns:
# without it the planner may look there for `state < 10` instead of `state = ?`, and read all that is live
RECOVER = "UPDATE message SET state = ? WHERE channel = ? AND state = ? AND state < 10 AND seq > 0"
_COLUMNS = (
    "m.seq, m.control_id, m.remote, m.link, m.callback, m.accepted_at, m.attempts, m.state, b.data, m.channel, m.number, m.crc"
)
# the only text put into these is a constant of this module
FETCH = f"""
SELECT {_COLUMNS} FROM message m JOIN body b ON b.seq = m.seq
WHERE m.channel = ? AND m.state = 0 AND m.state < 10 AND m.seq > ? ORDER BY m.seq LIMIT ?
"""  # noqa: S608
FETCH_ONE = f"SELECT {_COLUMNS} FROM message m JOIN body b ON b.seq = m.seq WHERE m.seq = ? AND m.state < 10"  # noqa: S608
RETRIES = """
SELECT seq, CAST(coalesce(next_attempt_at, 0) AS REAL) FROM message
WHERE channel = ? AND state = 3 AND state < 10 AND seq > 0 ORDER BY seq
"""
STATE_AND_SIZE = "SELECT state, length(data) FROM message LEFT JOIN body USING (seq) WHERE seq = ?"
OLDEST = "SELECT accepted_at FROM message WHERE channel = ? AND state = ? AND state < 10 AND seq > 0 ORDER BY seq LIMIT 1"
SIZE_OF_STATE = """
SELECT coalesce(sum(length(b.data)), 0) FROM message m JOIN body b ON b.seq = m.seq
WHERE m.channel = ? AND m.state = ? AND m.state < 10 AND m.seq > 0
"""


def crc_of(seq: int, channel: str, control_id: str, callback: str, body: bytes) -> int:
    """What notices a changed bit in the parts of a row that never change: SQLite does not."""
    return zlib.crc32(body, zlib.crc32(f"{seq}\0{channel}\0{control_id}\0{callback}".encode()))


# a row as sqlite3 gives it: its shape is that of _COLUMNS
def to_message(row: Any) -> InboundMessage | None:
    """The message of a row of `FETCH` or `FETCH_ONE`; None if it is not what was stored."""
    seq, control_id, remote, link, callback, accepted_at, attempts, state, body, channel, number, crc = row
    if not isinstance(body, bytes) or (crc is not None and crc != crc_of(seq, channel, control_id, callback, body)):
        return None
    return InboundMessage(
        seq=seq,
        control_id=control_id,
        remote=remote,
        link=link,
        callback=callback,
        accepted_at=accepted_at,
        attempts=attempts,
        # it is live, or the index would not have it: a changed number must not hide it
        stored_state=State(state) if state in STATES else State.RECEIVED,
        body=body,
        channel=channel,
        number=number,
    )


def readable(stored: bytes) -> str:
    """A text of the file, as `sqlite3.Connection.text_factory`: a changed bit must not keep other rows from being read."""
    return stored.decode("utf-8", "replace")


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
    MARK_SENT.write(connection, [(change.attempts, now, change.message.seq) for change in changes])


def mark_error_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """They failed and will be tried again."""
    rows = [(c.attempts, now, c.status_code, storable(c.error), c.next_attempt_at, c.message.seq) for c in changes]
    write_batch(connection, MARK_ERROR, rows)


def mark_answered_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """The server has spoken: `response_queued` or one of the ended states."""
    rows = [(c.state, c.attempts, now, c.status_code, storable(c.response), storable(c.error), c.message.seq) for c in changes]
    MARK_ANSWERED.write(connection, rows)


def mark_batch(connection: sqlite3.Connection, changes: Sequence[Change], now: float) -> None:
    """Write changes of every kind, a statement a kind. No message may be in it twice. `now`: seconds since the epoch."""
    by_kind: dict[State, list[Change]] = {}
    for change in changes:
        by_kind.setdefault(change.state, []).append(change)
    for state, some in by_kind.items():
        _MARKS.get(state, mark_answered_batch)(connection, some, now)


STATES = frozenset(int(state) for state in State)
_MARKS = {State.RECEIVED: mark_received_batch, State.SENT: mark_sent_batch, State.ERROR: mark_error_batch}
