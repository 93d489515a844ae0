"""Storing messages: new ones are inserted, resends are recognised, used control IDs are treated by the channel's rules.

All of it runs on the store's thread, inside the transaction that the caller has begun.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import operator
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from medagent.queue.base import Duplicate
from medagent.queue.sqlite.registers import ChannelRegisters, Registers
from medagent.queue.sqlite.rows import ManyRows
from medagent.queue.sqlite.statements import crc_of, write_batch
from medagent.types import Decision, Duplicates, InboundMessage, Refusal, RefusalKind, State

INSERT_MESSAGE = ManyRows(
    "INSERT INTO message (seq, channel, control_id, digest, copy, accepted_at, remote, link, callback, number, sender, crc) "
    "VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    " ON CONFLICT (channel, control_id, digest, copy) DO NOTHING",
)
INSERT_BODY = ManyRows("INSERT INTO body (seq, data) VALUES ", "(?, ?)")
SELECT_TWIN = """
SELECT seq, state, response, accepted_at, link FROM message
WHERE channel = ? AND control_id = ? AND digest = ? AND sender IN (?, 0) ORDER BY copy DESC LIMIT 1
"""
"""A row of sender 0 may be of any: a file of version 1 does not say."""
SELECT_USED = """
SELECT value FROM json_each(?3)
WHERE EXISTS (SELECT 1 FROM message WHERE channel = ?1 AND control_id = value AND sender = ?2)
"""
SELECT_USED_SINCE = """
SELECT EXISTS (SELECT 1 FROM message WHERE channel = ? AND control_id = ? AND sender = ? AND accepted_at > ?)
"""
JOIN = "UPDATE message SET remote = ?, link = ? WHERE seq = ?"

MOST_BYTES_AT_ONCE = 1024 * 1024
"""Of bodies: SQLite copies all that a statement is given."""
NUMBER_REGISTER = "number"
"""The register that holds a channel's next number."""

REFUSED_WITH_OTHERS = "it is refused with the other messages of its batch"

_Row = tuple[int, str, str, int, int, float, str, str, str, int | None, int, int]


@dataclass(slots=True)
class Inserted:
    """What became of the messages of one transaction."""

    stored: list[InboundMessage] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    rejected: list[InboundMessage] = field(default_factory=list)
    """Not stored, because their control ID is used (`Duplicates.REJECT`)."""
    reused: list[InboundMessage] = field(default_factory=list)
    """Stored, though their control ID is that of another message."""
    noted: list[InboundMessage] = field(default_factory=list)
    """Without a body: their registers are all there is of them."""
    refused: list[tuple[InboundMessage, Refusal]] = field(default_factory=list)
    """Not stored, because an admission says so."""
    registers: Registers = field(default_factory=dict)
    """What has changed."""

    def add(self, other: Inserted) -> None:
        """Take over what became of the messages after these."""
        self.stored += other.stored
        self.duplicates += other.duplicates
        self.rejected += other.rejected
        self.reused += other.reused
        self.noted += other.noted
        self.refused += other.refused
        self.registers |= other.registers


def digest_of(body: bytes) -> int:
    """64 bits that stand for a body, as SQLite's signed integer."""
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest(), "big", signed=True)


def _digest(message: InboundMessage) -> int:
    return digest_of(message.body or b"")


def insert_batch(connection: sqlite3.Connection, messages: Sequence[InboundMessage], registers: Registers) -> Inserted:
    """Insert messages and bodies; `registers` are the values before, which are not changed here."""
    treatments: dict[str, Duplicates] = {}
    if any(
        message.rules.numbered
        or message.rules.duplicates is Duplicates.REJECT
        # after a reload a channel may have both: then it matters which of two twins comes first
        or treatments.setdefault(message.channel, message.rules.duplicates) is not message.rules.duplicates
        or message.admission is not None
        or message.body is None
        or message.registers
        for message in messages
    ):
        return _Turns(connection, registers).insert(messages)
    return _insert_together(connection, messages)


def _insert_together(connection: sqlite3.Connection, messages: Sequence[InboundMessage]) -> Inserted:
    """One statement for all; only if some were there already, a look at each."""
    used = used_ids(connection, messages)
    rows = [
        _row(message, message.seq if message.rules.duplicates is Duplicates.ACCEPT else 0, _digest(message))
        for message in messages
    ]
    before = connection.total_changes
    INSERT_MESSAGE.write(connection, rows)
    inserted = Inserted(list(messages))
    if connection.total_changes - before != len(rows):
        seqs = [row[0] for row in rows]
        span = connection.execute("SELECT seq FROM message WHERE seq BETWEEN ? AND ?", (min(seqs), max(seqs)))
        present = {seq for (seq,) in span}
        stored = []
        for message in messages:
            if message.seq not in present:
                digest = _digest(message)
                if (duplicate := _duplicate(connection, message, _twin(connection, message, digest))) is not None:
                    inserted.duplicates.append(duplicate)
                    continue
                # another sender's, or the server refused its twin, or that is long ago: this is a message of its own
                connection.execute(INSERT_MESSAGE.one, _row(message, message.seq, digest))
            stored.append(message)
        inserted.stored = stored
    if used:
        inserted.reused = [
            message for message in inserted.stored if (message.channel, message.control_id, message.sender) in used
        ]
    _write_bodies(connection, inserted.stored)
    return inserted


def _write_bodies(connection: sqlite3.Connection, messages: Sequence[InboundMessage]) -> None:
    rows = [(message.seq, message.body) for message in messages]
    if sum(message.size for message in messages) <= MOST_BYTES_AT_ONCE:
        INSERT_BODY.write(connection, rows)
    else:
        write_batch(connection, INSERT_BODY.one, rows)


class _Turns:
    """Messages are stored one after the other, each by its rules and its admission."""

    def __init__(self, connection: sqlite3.Connection, registers: Registers) -> None:
        self._connection = connection
        self._registers = registers

    def insert(self, messages: Sequence[InboundMessage]) -> Inserted:
        inserted = Inserted()
        for whole, group in itertools.groupby(messages, operator.attrgetter("whole")):
            some = list(group)
            if whole and any(part.admission is not None for part in some):
                self._insert_whole(some, inserted)
                continue
            for message in some:
                decision = self._insert_one(message, inserted, {})
                if decision is not None and decision.refusal is not None:
                    inserted.refused.append((message, decision.refusal))
                    _set(inserted.registers, message.channel, decision.registers)
        return inserted

    def _insert_whole(self, parts: Sequence[InboundMessage], inserted: Inserted) -> None:
        """All of them, or none."""
        trial = Inserted()
        self._connection.execute("SAVEPOINT whole")
        for part in parts:
            decision = self._insert_one(part, trial, inserted.registers)
            if decision is not None or trial.rejected:
                self._connection.execute("ROLLBACK TO whole")
                _refuse_whole(parts, part, decision, inserted)
                break
        else:
            inserted.add(trial)
        self._connection.execute("RELEASE whole")

    def _insert_one(self, message: InboundMessage, inserted: Inserted, changed: Registers) -> Decision | None:
        """Store a message, or say in `inserted` why not; the decision, if it is one that refuses.

        `changed`: registers that have changed in this transaction before those of `inserted`.
        """
        rules, admission = message.rules, message.admission
        registers = ChannelRegisters(message.channel, inserted.registers, changed, self._registers)
        copy, twin, recent, reused = message.seq, None, None, False
        digest = _digest(message)
        if message.control_id and (admission is not None or rules.duplicates is not Duplicates.ACCEPT):
            twin = _twin(self._connection, message, digest)
            copy = 0 if twin is None else message.seq
            recent = _recent(message, twin)
            if not _resent(recent) and rules.duplicates is not Duplicates.ACCEPT:
                reused = self._is_used(message)
        if reused and twin is None and rules.duplicates is Duplicates.REJECT:
            inserted.rejected.append(message)
            return None
        if admission is not None:
            decision = admission(message, registers, None if recent is None else State(recent[1]))
            if decision.refusal is not None:
                return decision
            _set(inserted.registers, message.channel, decision.registers)
        if recent is not None and _resent(recent):
            inserted.duplicates.append(_join(self._connection, message, recent))
            return None
        _set(inserted.registers, message.channel, message.registers)
        if message.body is None and message.stored_state is None:
            inserted.noted.append(message)
            return None
        if reused:
            inserted.reused.append(message)
        if rules.numbered:
            message.number = registers.get(NUMBER_REGISTER, 0)
            inserted.registers[message.channel, NUMBER_REGISTER] = message.number + 1
        if not self._connection.execute(INSERT_MESSAGE.one, _row(message, copy, digest)).rowcount:
            # another sender's is like it
            self._connection.execute(INSERT_MESSAGE.one, _row(message, message.seq, digest))
        self._connection.execute(INSERT_BODY.one, (message.seq, message.body))
        inserted.stored.append(message)
        return None

    def _is_used(self, message: InboundMessage) -> bool:
        """Whether the sender has used its control ID within the window."""
        since = message.accepted_at - message.rules.duplicate_window
        used = (message.channel, message.control_id, message.sender, since)
        return bool(self._connection.execute(SELECT_USED_SINCE, used).fetchone()[0])


def _refuse_whole(
    parts: Sequence[InboundMessage], cause: InboundMessage, decision: Decision | None, inserted: Inserted
) -> None:
    """Refuse all parts: the cause for its own reason, or for its used control ID if there was no decision."""
    refusal = None if decision is None else decision.refusal
    passing = refusal is not None and refusal.kind is RefusalKind.STORAGE
    of_others = Refusal(RefusalKind.STORAGE if passing else RefusalKind.UNACCEPTABLE, REFUSED_WITH_OTHERS)
    for part in parts:
        part.number = None
        if part is not cause:
            inserted.refused.append((part, of_others))
        elif refusal is None:
            inserted.rejected.append(part)
        else:
            inserted.refused.append((part, refusal))
    if decision is not None:
        _set(inserted.registers, cause.channel, decision.registers)


def _set(registers: Registers, channel: str, values: Sequence[tuple[str, int]]) -> None:
    for name, value in values:
        registers[channel, name] = value


def used_ids(connection: sqlite3.Connection, messages: Sequence[InboundMessage]) -> set[tuple[str, str, int]]:
    """(channel, control ID, sender) of those that are in the queue already, if it matters to their channels."""
    by_sender: dict[tuple[str, int], list[str]] = {}
    for message in messages:
        if message.control_id and message.rules.duplicates is not Duplicates.ACCEPT:
            by_sender.setdefault((message.channel, message.sender), []).append(message.control_id)
    return {
        (channel, control_id, sender)
        for (channel, sender), ids in by_sender.items()
        for (control_id,) in connection.execute(SELECT_USED, (channel, sender, json.dumps(ids)))
    }


_Twin = tuple[int, int, str | None, float, str]


def _twin(connection: sqlite3.Connection, message: InboundMessage, digest: int) -> _Twin | None:
    """The sender's newest stored message with the same control ID and bytes: seq, state, response, accepted_at, link."""
    key = (message.channel, message.control_id, digest, message.sender)
    twin: _Twin | None = connection.execute(SELECT_TWIN, key).fetchone()
    return twin


def _duplicate(connection: sqlite3.Connection, message: InboundMessage, twin: _Twin | None) -> Duplicate | None:
    """What makes `message` a resend of its twin, if that is what it is: not of one that was refused, or is long ago."""
    recent = _recent(message, twin)
    return _join(connection, message, recent) if recent is not None and _resent(recent) else None


def _recent(message: InboundMessage, twin: _Twin | None) -> _Twin | None:
    """The twin, if it is inside the window."""
    return twin if twin is not None and twin[3] > message.accepted_at - message.rules.duplicate_window else None


def _resent(recent: _Twin | None) -> bool:
    """Whether a message with this twin is the same again; after a refusal of the server it is a new try."""
    return recent is not None and recent[1] not in (State.REJECTED, State.DEAD_LETTER)


def _join(connection: sqlite3.Connection, message: InboundMessage, twin: _Twin) -> Duplicate:
    """The copy takes the stored one's place as the one to be answered, if it was not just read late."""
    seq, state, response, _, link = twin
    keeps_answer = message.rules.keeps_answer
    joins = keeps_answer is None or not keeps_answer(link, message.link)
    if joins and state < State.RESPONSE_SENT:
        connection.execute(JOIN, (message.remote, message.link, seq))
    return Duplicate(message, seq, State(state), response, joins)


def _row(message: InboundMessage, copy: int, digest: int) -> _Row:
    return (
        message.seq,
        message.channel,
        message.control_id,
        digest,
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
