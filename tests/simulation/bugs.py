"""Bugs to be planted: each a small patch of the agent, or another store, with the invariant that must find it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest.mock import patch

from medagent.clock import Clock
from medagent.queue import forwarding, sending
from medagent.queue.base import Duplicate, QueueStore, Receipt, StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.committer import Committer
from medagent.queue.dispatcher import Dispatcher
from medagent.queue.failures import Failures
from medagent.queue.lane import Lane
from medagent.queue.sending import Sending
from medagent.queue.settlement import Settlement
from medagent.queue.sqlite import insertion
from medagent.queue.sqlite.store import SqliteStore
from medagent.reload.apply import Reload
from medagent.reload.plan import ChannelChange
from medagent.testing.simulation.disk import Disk, SqliteDisk
from medagent.types import InboundMessage, State
from medagent.uplink.base import Response


@dataclass(frozen=True)
class Bug:
    """One of them."""

    name: str
    invariants: frozenset[str]
    """Of which one must be what finds it."""
    patches: tuple[Any, ...] = ()  # as `patch.object` makes them
    disk: Callable[[], Disk] = SqliteDisk
    first_seed: int = 0
    """Where the search begins: some need a rare chain of events."""


def _bug(name: str, invariants: str, target: Any = None, attribute: str = "", new: Any = None, **others: Any) -> Bug:
    patches = (patch.object(target, attribute, new),) if target is not None else ()
    return Bug(name, frozenset(invariants.split()), patches, **others)


# -- the committer


_commit = Committer._commit


async def _receipt_first(self: Committer, messages: Sequence[InboundMessage], changes: Sequence[Any]) -> None:
    if messages:
        self._on_receipt(Receipt(0, list(messages)))
        self._on_receipt, told = lambda receipt: None, self._on_receipt
        try:
            await _commit(self, messages, changes)
        finally:
            self._on_receipt = told
    else:
        await _commit(self, messages, changes)


async def _refused_as_stored(self: Committer, messages: Sequence[InboundMessage], changes: Sequence[Any]) -> None:
    self._on_refused = lambda message: self._on_receipt(Receipt(0, [message]))
    await _commit(self, messages, changes)


_commit_singly = Committer._commit_singly


async def _first_forgotten(self: Committer, messages: Sequence[InboundMessage]) -> None:
    await _commit_singly(self, messages[1:] if len(messages) > 1 else messages)


async def _changes_forgotten(self: Committer, changes: Sequence[Any], *, tried: bool) -> None: ...


# -- lane and dispatcher

_take = Lane.take


def _second_first(self: Lane) -> InboundMessage | None:
    if len(self._ready) > 1:
        self._ready[0], self._ready[1] = self._ready[1], self._ready[0]
    return _take(self)


_tick = Dispatcher.tick


def _late_given_up(self: Dispatcher) -> None:
    with patch.object(Lane, "retry", lambda lane, seq, due: None):
        _tick(self)


_answered = Dispatcher.answered


def _by_order(self: Dispatcher, responses: Sequence[Response]) -> None:
    """As if answers came in the order of the messages."""
    waiting = iter([message.callback for message in self._flights.messages])
    _answered(self, [Response(next(waiting, r.callback), r.status_code, r.content_type, r.body) for r in responses])


_transmit = Sending._transmit


def _new_key(self: Sending, uplink: Any, messages: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
    for message in messages:
        if message.attempts:
            message.callback += "x"
    return _transmit(self, uplink, messages)


# -- settlement

_settle = Settlement.settle
_give = Settlement._answer


def _settle_twice(self: Settlement, channel: str, verdicts: Sequence[Any], *ended: State) -> None:
    _settle(self, channel, verdicts, *ended)
    _settle(self, channel, verdicts[-1:], *ended)


def _filtered_as_served(self: Settlement, channel: str, verdicts: Sequence[Any], *ended: State) -> None:
    _settle(self, channel, verdicts, *(state for state in ended if state is not State.FILTERED))


_make_frames = sending.make_frames


def _filtered_and_forgotten(*arguments: Any) -> forwarding.Outgoing:
    outgoing = _make_frames(*arguments)
    outgoing.filtered.clear()
    return outgoing


def _to_the_newest(self: Settlement, channel: str, answers: Sequence[Any]) -> Any:
    newest = max((message.link for message, _ in answers), key=lambda link: int(link.rpartition("-")[2]))
    for message, _ in answers:
        message.link = newest
    return _give(self, channel, list(answers))


# -- stores


async def _no_retries(self: SqliteStore, channel: str) -> list[tuple[int, float]]:
    return []


class ForgetfulDisk(SqliteDisk):
    """A crash takes the last commit with it, as with `synchronous=NORMAL`."""

    def __init__(self) -> None:
        super().__init__()
        self._before: bytes | None = None

    def open_store(self, clock: Clock) -> QueueStore:
        store = super().open_store(clock)
        commit = store.commit

        async def remember(messages: Any, changes: Any) -> Receipt:
            self._before = self._connection.serialize()
            return await commit(messages, changes)

        store.commit = remember  # type: ignore[method-assign]  # for this one object
        return store

    def crash(self, random: Random) -> None:
        super().crash(random)
        if self._before is not None:
            self._connection.deserialize(self._before)


_make_batched = BatchedStrategy.__init__


def _committing_twice(self: BatchedStrategy, context: StrategyContext) -> None:
    """It takes messages off its buffer twice; a third party's strategy would be kept from it."""

    async def twice(messages: Sequence[InboundMessage]) -> None:
        await context.commit(messages)
        await context.commit(messages[-1:])

    _make_batched(self, replace(context, commit=twice))


# -- reloads


def _lane_removed(self: Dispatcher, channel: str) -> None:
    """What is unanswered stays as it is."""
    if channel in self._lanes:
        self._lanes.remove(channel)
        self._caution.forget(channel)


async def _closed_first(self: Reload, changes: Iterable[ChannelChange]) -> None:
    pipeline = self._pipeline
    stopping = [change for change in changes if change.name in pipeline.channels]
    self._stopped += stopping
    for change in stopping:
        await pipeline.supervisor.retire(pipeline.channels[change.name])
        await pipeline.channels[change.name].close()
    await pipeline.flush()


def _late_in_memory_only(self: Failures, lane: Lane, message: InboundMessage) -> None:
    """As it was before the simulation found it: what waits to be sent again is lost with its lane."""
    lane.retry(message.seq, self._clock.monotonic())


def _join_last(connection: sqlite3.Connection, message: InboundMessage, twin: Any) -> Duplicate:
    """The copy that is read last gets the answer."""
    connection.execute(insertion.JOIN, (message.remote, message.link, twin[0]))
    return Duplicate(message, twin[0], State(twin[1]), twin[2])


BUGS = (
    _bug("acknowledged before the commit", "I6", Committer, "_commit", _receipt_first),
    _bug("refused messages are acknowledged and sent", "I6 I3 I4", Committer, "_commit", _refused_as_stored),
    _bug("a failed batch loses its first message", "I4 liveness", Committer, "_commit_singly", _first_forgotten, first_seed=60),
    _bug("a failed batch loses its changes of state", "I1 I4 I10 liveness", Committer, "_commit_changes", _changes_forgotten),
    _bug("the lane swaps two messages", "I2", Lane, "take", _second_first),
    _bug("what was in flight is forgotten on a reconnect", "liveness", Lane, "rewind", lambda self, seqs: None),
    _bug("a time-out gives the message up", "liveness", Dispatcher, "tick", _late_given_up),
    _bug("answers are matched by order", "I5 I1", Dispatcher, "answered", _by_order),
    _bug("another attempt has another key", "I3", Sending, "_transmit", _new_key),
    _bug("settled twice", "I4", Settlement, "settle", _settle_twice),
    _bug("what was filtered ends as if the server had it", "I1", Settlement, "settle", _filtered_as_served),
    _bug("what was filtered is forgotten", "I4 liveness", sending, "make_frames", _filtered_and_forgotten),
    _bug("answers go to the newest connection", "I5", Settlement, "_answer", _to_the_newest),
    _bug("retries are forgotten at a restart", "liveness", SqliteStore, "retries", _no_retries),
    _bug("a resend is stored again", "I3", insertion, "_duplicate", lambda connection, message, twin: None),
    _bug("a resend read late takes the answer", "I5", insertion, "_join", _join_last),
    _bug("the lane of a removed channel is not rewound", "I10 liveness", Dispatcher, "remove_lane", _lane_removed),
    _bug("a channel is closed before the strategy is flushed", "I4", Reload, "_stop", _closed_first),
    _bug(
        "what waits after a time-out is lost with its lane", "liveness", Failures, "late", _late_in_memory_only, first_seed=391
    ),
    _bug("a crash takes the last commit", "I1", disk=ForgetfulDisk),
    _bug("the strategy commits a message twice", "I3 I4 I7 I10", BatchedStrategy, "__init__", _committing_twice),
)
