"""One checker for what must hold however a run went: I1 to I10 of docs/reliability.md.

For tests of medagent, and of queue strategies, stores and channels of others: gather an `Evidence`, and `check` says in words
what is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from medagent.testing.evidence import Delivery, Evidence
from medagent.testing.ledger import Entry, Record, read_ledger
from medagent.testing.queue_file import QueueContents, read_contents
from medagent.types import State


def check(evidence: Evidence) -> list[str]:
    """Every violation, such as "I1: message adt/A17 was acknowledged and is neither in the queue nor at the server"."""
    facts = _Facts.of(evidence)
    return [violation for invariant in _INVARIANTS for violation in invariant(facts)]


_Message = tuple[str, str, str]
"""Channel, control ID, digest of the body."""


@dataclass(slots=True)
class _Facts:
    evidence: Evidence
    records: list[Record]
    queues: list[QueueContents]
    stored: Counter[_Message]
    delivered: Counter[_Message]
    seqs: dict[str, int]
    """By callback."""

    @classmethod
    def of(cls, evidence: Evidence) -> _Facts:
        queues = [read_contents(path) for path in evidence.queues]
        rows = [row for queue in queues for row in queue.rows]
        return cls(
            evidence=evidence,
            records=[read_ledger(path) for path in evidence.ledgers],
            queues=queues,
            stored=Counter((row.channel, row.control_id, row.sha256) for row in rows if row.state not in _REFUSED),
            delivered=Counter((each.channel, each.control_id, each.sha256) for each in evidence.deliveries),
            seqs={row.callback: row.seq for row in rows},
        )

    @property
    def entries(self) -> Iterator[Entry]:
        for record in self.records:
            yield from record.entries

    def first_arrivals(self) -> Iterator[Delivery]:
        seen = set()
        for delivery in self.evidence.deliveries:
            if delivery.callback not in seen:
                seen.add(delivery.callback)
                yield delivery


_REFUSED = (State.REJECTED, State.DEAD_LETTER)
_NOT_FOR_THE_SERVER = (*_REFUSED, State.FILTERED)


def _kept(facts: _Facts) -> Iterator[str]:
    """What was acknowledged is in the queue or was delivered."""
    if not (facts.evidence.queues or facts.evidence.deliveries):
        return
    known = {(row.channel, row.control_id) for queue in facts.queues for row in queue.rows}
    known |= {(channel, control_id) for channel, control_id, _ in facts.delivered}
    for entry in facts.entries:
        # one that is there with another body is not lost but changed: I7
        if entry.acknowledged and (entry.channel, entry.control_id) not in known:
            yield f"I1: message {entry} was acknowledged and is neither in the queue nor at the server"
    if facts.evidence.drained and facts.evidence.deliveries:
        arrived = {delivery.callback for delivery in facts.evidence.deliveries}
        for row in (row for queue in facts.queues for row in queue.rows):
            if row.state.ended and row.state not in _NOT_FOR_THE_SERVER and row.callback not in arrived:
                yield f"I1: message {row.channel}/{row.control_id} has ended well and has never reached the server"


def _in_order(facts: _Facts) -> Iterator[str]:
    """First attempts reach the server in the order of acceptance."""
    newest: dict[str, int] = {}
    for delivery in facts.first_arrivals():
        seq = facts.seqs.get(delivery.callback)
        if seq is None:
            continue
        if seq < newest.get(delivery.channel, 0):
            yield f"I2: message {_name(delivery)} (seq {seq}) came to the server after seq {newest[delivery.channel]}"
        newest[delivery.channel] = max(seq, newest.get(delivery.channel, 0))
    if facts.evidence.ordered_senders:
        yield from _in_order_of_sending(facts)


def _in_order_of_sending(facts: _Facts) -> Iterator[str]:
    sent = {(e.channel, e.control_id, e.sha256): (number, e) for number, e in enumerate(facts.entries)}
    newest: dict[tuple[str, str], tuple[int, Entry]] = {}
    for delivery in facts.first_arrivals():
        found = sent.get((delivery.channel, delivery.control_id, delivery.sha256))
        if found is None:
            continue
        number, entry = found
        before = newest.setdefault((entry.channel, entry.sender), found)
        if number < before[0]:
            yield f"I2: message {entry} was sent before {before[1]} by the same sender, and came to the server after it"
        else:
            newest[entry.channel, entry.sender] = found


def _one_key(facts: _Facts) -> Iterator[str]:
    """However often a message reaches the server, it is under one key, and the key is its alone."""
    keys: dict[_Message, set[str]] = {}
    messages: dict[str, set[_Message]] = {}
    for delivery in facts.evidence.deliveries:
        message = (delivery.channel, delivery.control_id, delivery.sha256)
        if delivery.control_id:
            keys.setdefault(message, set()).add(delivery.callback)
        messages.setdefault(delivery.callback, set()).add(message)
    refused = {row.callback for queue in facts.queues for row in queue.rows if row.state in _REFUSED}
    for (channel, control_id, _), callbacks in keys.items():
        # the resend of a message that the server has refused is a new try
        if len(callbacks - refused) > 1:
            yield f"I3: message {channel}/{control_id} came to the server under {len(callbacks)} keys"
    for callback, several in messages.items():
        if len(several) > 1:
            yield f"I3: {len(several)} messages came to the server under one key, {callback}"


def _conserved(facts: _Facts) -> Iterator[str]:
    """What was accepted is what is live and what has ended, each message once."""
    for queue in facts.queues:
        if queue.counted != queue.actual:
            counted, actual = sum(queue.counted.values()), sum(queue.actual.values())
            yield f"I4: the counters of {queue.path.name} say otherwise than its rows ({counted} and {actual} messages)"
        if queue.without_body:
            yield f"I4: {queue.without_body} message(s) of {queue.path.name} have no body"
        if queue.bodies_alone:
            yield f"I4: {queue.bodies_alone} bodies of {queue.path.name} belong to no message"
        if facts.evidence.drained:
            for row in queue.rows:
                if not row.state.ended:
                    yield f"I4: message {row.channel}/{row.control_id} has not ended: {row.state.name.lower()}"
    for (channel, control_id, _), count in facts.stored.items():
        if control_id and count > 1:
            yield f"I4: message {channel}/{control_id} is in the queue {count} times"
    rows = sum(len(queue.rows) for queue in facts.queues)
    if facts.evidence.accepted is not None and rows != facts.evidence.accepted:
        yield f"I4: {facts.evidence.accepted} messages were accepted, and {rows} are live or have ended"


def _to_the_sender(facts: _Facts) -> Iterator[str]:
    """An acknowledgment names the message it answers, on a connection that the message was sent on."""
    for record in facts.records:
        for channel, control_id, answer in record.strays:
            yield f"I5: {answer.code} for {channel}/{control_id} came on {answer.connection}, where it was not sent"
        for entry in record.entries:
            yield from _own_answers(entry, facts.evidence.answered)


def _own_answers(entry: Entry, answered: Collection[str]) -> Iterator[str]:
    """At most one of each kind for each time it was sent, about this message; and one in the end."""
    kinds = Counter((answer.connection, answer.code[:1]) for answer in entry.answers)
    for (connection, kind), count in kinds.items():
        if count > entry.connections[connection]:
            name = "commit" if kind == "C" else "application"
            yield f"I5: message {entry} got {count} {name} acknowledgments on {connection}"
    for answer in entry.answers:
        if answer.about not in ("", entry.sha256):
            yield f"I5: {answer.code} for {entry} on {answer.connection} is the server's answer to another message"
    if entry.sender in answered and not any(answer.code.startswith("A") for answer in entry.answers):
        yield f"I5: message {entry} got no application acknowledgment, though its sender has waited for it"


def _after_the_flush(facts: _Facts) -> Iterator[str]:
    """No positive acknowledgment before the flush that covers it."""
    for flush in facts.evidence.flushes:
        if flush.flushed_at is None or flush.flushed_at > flush.acknowledged_at:
            yield f"I6: message {flush.channel}/{flush.control_id} was acknowledged before it was flushed to the disk"


def _unchanged(facts: _Facts) -> Iterator[str]:
    """Bodies in the queue and at the server are the bytes that were sent."""
    if not facts.evidence.ledgers:
        return
    sent: dict[tuple[str, str], set[str]] = {}
    for entry in facts.entries:
        sent.setdefault((entry.channel, entry.control_id), set()).add(entry.sha256)
    for places, where in ((facts.stored, "in the queue"), (facts.delivered, "at the server")):
        for channel, control_id, sha256 in places:
            known = sent.get((channel, control_id))
            if known is None:
                yield f"I7: message {channel}/{control_id} is {where}, and nobody has sent it"
            elif sha256 not in known:
                yield f"I7: message {channel}/{control_id} is {where} with other bytes than were sent"


def _silent(facts: _Facts) -> Iterator[str]:
    """No patient data and no secret in a log. The report names the place, and never quotes."""
    for name, lines in facts.evidence.logs.items():
        for number, line in enumerate(lines, 1):
            if any(canary in line for canary in facts.evidence.canaries):
                yield f"I8: line {number} of {name} holds what only a message or a secret may hold"


def _bounded(facts: _Facts) -> Iterator[str]:
    """Memory, files, tasks and threads stay within what the configuration says."""
    for figure in facts.evidence.figures:
        if figure.value > figure.limit:
            yield f"I9: {figure.name} is {figure.value:g}, and at most {figure.limit:g} is allowed"


def _starts_again(facts: _Facts) -> Iterator[str]:
    """The agent starts on whatever state it left behind."""
    for start in facts.evidence.starts:
        if not start.works:
            yield f"I10: {start.name} has failed: {start.reason}"


_INVARIANTS = (
    _kept,
    _in_order,
    _one_key,
    _conserved,
    _to_the_sender,
    _after_the_flush,
    _unchanged,
    _silent,
    _bounded,
    _starts_again,
)


def _name(delivery: Delivery) -> str:
    return f"{delivery.channel}/{delivery.control_id}"
