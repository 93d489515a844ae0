"""The form of the queue file, and how a file of an earlier form becomes one of today's."""

from __future__ import annotations

import sqlite3

from medagent.errors import QueueError
from medagent.failpoints import reach
from medagent.queue.sqlite.transaction import transaction

SCHEMA_VERSION = 2
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
    number INTEGER,
    sender INTEGER NOT NULL DEFAULT 0,
    crc INTEGER
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
"""Message rows are narrow and bodies lie apart, so that a change of state never rewrites a body. `crc` is of what must never
change (`medagent.queue.sqlite.statements.crc_of`), NULL in rows of version 1."""

_STEPS = {
    1: (
        "ALTER TABLE message ADD COLUMN sender INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE message ADD COLUMN crc INTEGER",
    ),
}
"""What makes a file of one version one of the next."""


class UnknownFile(QueueError):
    """The file is no queue that this medagent can read."""


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make a new file a queue, and an older queue one of today's, in one transaction. Raises `UnknownFile`."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
        return
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise UnknownFile("it is another program's database")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if not 1 <= version <= SCHEMA_VERSION:
        raise UnknownFile(f"its format is {version}, and this medagent knows those up to {SCHEMA_VERSION}")
    if version < SCHEMA_VERSION:
        _migrate(connection, version)


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    with transaction(connection):
        for step in range(version, SCHEMA_VERSION):
            for statement in _STEPS[step]:
                connection.execute(statement)
                reach("in_migration")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
