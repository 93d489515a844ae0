"""Storing messages: new ones are inserted, resends are recognised, used control IDs are treated by the channel's rules.

All of it runs on the store's thread, inside the transaction that the caller has begun.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from medagent.queue.base import Duplicate
from medagent.queue.statements import crc_of, write_batch
from medagent.types import Duplicates, InboundMessage, State

INSERT_MESSAGE = """
INSERT INTO message (seq, channel, control_id, digest, copy, accepted_at, remote, link, callback, number, sender, crc)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (channel, control_id, digest, copy) DO NOTHING
"""
INSERT_BODY = "INSERT INTO body (seq, data) VALUES (?, ?)"
SELECT_TWIN = """
SELECT seq, state, response, accepted_at FROM message
WHERE channel = ? AND control_id = ? AND digest = ? ORDER BY copy DESC LIMIT 1
"""
SELECT_USED = """
SELECT value ->> 0, value ->> 1 FROM json_each(?2)
WHERE EXISTS (SELECT 1 FROM message WHERE channel = ?1 AND control_id = value ->> 0 AND sender = value ->> 1)
"""
SELECT_USED_SINCE = """
SELECT EXISTS (SELECT 1 FROM message WHERE channel = ? AND control_id = ? AND sender = ? AND accepted_at > ?)
"""
JOIN = "UPDATE message SET remote = ?, link = ? WHERE seq = ?"

NUMBER_REGISTER = "number"
"""The register that holds a channel's next number."""

Registers = dict[tuple[str, str], int]
"""Values by channel and name."""

_Row = tuple[int, str, str, int, int, float, str, str, str, int | None, int, int]


@dataclass(slots=True)
class Inserted:
    """What became of the messages of one transaction."""

    stored: Sequence[InboundMessage] = ()
    duplicates: list[Duplicate] = field(default_factory=list)
    rejected: list[InboundMessage] = field(default_factory=list)
    """Not stored, because their control ID is used (`Duplicates.REJECT`)."""
    reused: list[InboundMessage] = field(default_factory=list)
    """Stored, though their control ID is that of another message."""
    noted: list[InboundMessage] = field(default_factory=list)
    """Without a body: their registers are all there is of them."""
    registers: Registers = field(default_factory=dict)
    """What has changed."""


def digest_of(body: bytes) -> int:
    """64 bits that stand for a body, as SQLite's signed integer."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)


def insert_batch(connection: sqlite3.Connection, messages: Sequence[InboundMessage], registers: Registers) -> Inserted:
    """Insert messages and bodies; `registers` are the values before, which are not changed here."""
    noted = [message for message in messages if message.body is None and message.stored_state is None]
    if noted:
        messages = [message for message in messages if message not in noted]
    if not messages:
        inserted = Inserted()
    elif any(message.rules.numbered or message.rules.duplicates is not Duplicates.IDEMPOTENT for message in messages):
        inserted = _insert_singly(connection, messages, registers)
    else:
        inserted = _insert_together(connection, messages)
    inserted.noted = noted
    written = sorted([*inserted.stored, *noted], key=lambda message: message.seq) if noted else inserted.stored
    for message in written:
        for name, value in message.registers:
            inserted.registers[message.channel, name] = value
    return inserted


def _insert_together(connection: sqlite3.Connection, messages: Sequence[InboundMessage]) -> Inserted:
    """One statement for all; only if some were there already, a look at each."""
    used = _used_ids(connection, messages)
    rows = [_row(message, 0) for message in messages]
    before = connection.total_changes
    write_batch(connection, INSERT_MESSAGE, rows)
    inserted = Inserted(messages)
    if connection.total_changes - before != len(rows):
        seqs = [row[0] for row in rows]
        span = connection.execute("SELECT seq FROM message WHERE seq BETWEEN ? AND ?", (min(seqs), max(seqs)))
        present = {seq for (seq,) in span}
        stored = []
        for message in messages:
            if message.seq not in present:
                if (duplicate := _duplicate(connection, message, _twin(connection, message))) is not None:
                    inserted.duplicates.append(duplicate)
                    continue
                # the server refused its twin, or that is long ago: this is a message of its own
                connection.execute(INSERT_MESSAGE, _row(message, message.seq))
            stored.append(message)
        inserted.stored = stored
    if used:
        inserted.reused = [
            message for message in inserted.stored if (message.channel, message.control_id, message.sender) in used
        ]
    write_batch(connection, INSERT_BODY, [(message.seq, message.body) for message in inserted.stored])
    return inserted


def _insert_singly(connection: sqlite3.Connection, messages: Sequence[InboundMessage], registers: Registers) -> Inserted:
    """In order, each by its rules."""
    stored: list[InboundMessage] = []
    inserted = Inserted(stored)
    for message in messages:
        copy = message.seq
        if message.control_id and message.rules.duplicates is not Duplicates.ACCEPT:
            twin = _twin(connection, message)
            if twin is None:
                copy = 0
            if (duplicate := _duplicate(connection, message, twin)) is not None:
                inserted.duplicates.append(duplicate)
                continue
            since = message.accepted_at - message.rules.duplicate_window
            if connection.execute(SELECT_USED_SINCE, (message.channel, message.control_id, message.sender, since)).fetchone()[
                0
            ]:
                if message.rules.duplicates is Duplicates.REJECT and twin is None:
                    inserted.rejected.append(message)
                    continue
                inserted.reused.append(message)
        if message.rules.numbered:
            key = (message.channel, NUMBER_REGISTER)
            message.number = inserted.registers.get(key, registers.get(key, 0))
            inserted.registers[key] = message.number + 1
        connection.execute(INSERT_MESSAGE, _row(message, copy))
        connection.execute(INSERT_BODY, (message.seq, message.body))
        stored.append(message)
    return inserted


def _used_ids(connection: sqlite3.Connection, messages: Sequence[InboundMessage]) -> set[tuple[str, str, int]]:
    """(channel, control ID, sender) of those that are in the queue already."""
    by_channel: dict[str, list[tuple[str, int]]] = {}
    for message in messages:
        if message.control_id:
            by_channel.setdefault(message.channel, []).append((message.control_id, message.sender))
    return {
        (channel, control_id, sender)
        for channel, ids in by_channel.items()
        for control_id, sender in connection.execute(SELECT_USED, (channel, json.dumps(ids)))
    }


_Twin = tuple[int, int, str | None, float]


def _twin(connection: sqlite3.Connection, message: InboundMessage) -> _Twin | None:
    """The newest stored message with the same control ID and bytes: seq, state, response, accepted_at."""
    key = (message.channel, message.control_id, digest_of(message.body or b""))
    twin: _Twin | None = connection.execute(SELECT_TWIN, key).fetchone()
    return twin


def _duplicate(connection: sqlite3.Connection, message: InboundMessage, twin: _Twin | None) -> Duplicate | None:
    """What makes `message` a resend of its twin, if that is what it is: not of one that was refused, or is long ago."""
    if twin is None:
        return None
    seq, state, response, accepted_at = twin
    if state in (State.REJECTED, State.DEAD_LETTER) or accepted_at <= message.accepted_at - message.rules.duplicate_window:
        return None
    if state < State.RESPONSE_SENT:
        connection.execute(JOIN, (message.remote, message.link, seq))
    return Duplicate(message, seq, State(state), response)


def _row(message: InboundMessage, copy: int) -> _Row:
    return (
        message.seq,
        message.channel,
        message.control_id,
        digest_of(message.body or b""),
        # without a control ID it has no identity, and is never a duplicate
        copy if message.control_id else message.seq,
        message.accepted_at,
        message.remote,
        message.link,
        message.callback,
        message.number,
        message.sender,
        crc_of(message.seq, message.channel, message.control_id, message.callback, message.body or b""),
    )
