"""The invariants: a ledger of what every part has seen, kept apart from the agent, and checked at every entry.

I1: what was acknowledged is on disk or was delivered. I2: first attempts leave in order. I3: one message, one key. I4: nothing
vanishes, nothing counts twice. I5: answers go where they belong. I6: nothing positive before its commit has returned. I7:
bytes stay as they were. `liveness`: when the faults are over, everything ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from medagent.queue.base import Change, ChannelDepth
from medagent.testing.simulation.disk import Row
from medagent.testing.simulation.journal import Journal
from medagent.testing.simulation.message import Answered, Key, Sent
from medagent.types import InboundMessage, State
from medagent.uplink.base import Transmit

UNSERVED_STATES = (State.REJECTED, State.DEAD_LETTER, State.FILTERED)
"""What has ended so need not have been taken by the server."""


class Ledger:
    """What has happened, and whether it may."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.rows: dict[int, Row] = {}
        """By seq: what is on disk, for all that the world has been told."""
        self._newest: dict[Key, Row] = {}
        self._by_callback: dict[str, Row] = {}
        self._promised: dict[Key, str] = {}
        self._first_sent: set[str] = set()
        self._last_first: dict[str, int] = {}
        self.served: Counter[Key] = Counter()
        """How often the server took a message."""
        self._filtered: set[Key] = set()
        """What a transform has kept from the server, at some time."""
        self._settled: set[int] = set()
        """By the agent that runs."""
        self._committed_now = 0

    def _violate(self, invariant: str, what: str) -> None:
        self._journal.violate(invariant, what)

    # -- the disk -----------------------------------------------------------------------------------------------------

    def started(self, rows: Iterable[Row]) -> None:
        """An agent has opened the queue; these are all of its rows."""
        found = {row.seq: row for row in rows}
        for seq, row in self.rows.items():
            if seq not in found:
                self._violate("I1", f"committed message {seq} ({row.key}) is not in the queue after a restart")
        self._count_numbers(found)
        self._settled.clear()
        self._committed_now = 0
        self.rows.clear()
        for row in found.values():
            self._take(row)
        for key, code in self._promised.items():
            if key not in self._newest:
                self._violate("I1", f"{key} was acknowledged with {code}, and is not in the queue after a restart")

    def _count_numbers(self, rows: Mapping[int, Row]) -> None:
        """Those of a channel follow each other from 0, in the order of acceptance."""
        numbers: dict[str, list[int]] = {}
        for _, row in sorted(rows.items()):
            if row.number is not None:
                numbers.setdefault(row.channel, []).append(row.number)
        for channel, of_channel in numbers.items():
            if of_channel != list(range(len(of_channel))):
                self._violate("I4", f"the numbers of {channel} have gaps, or are not in order: {of_channel}")

    def written(self, messages: Sequence[InboundMessage], changes: Sequence[Change], rows: Mapping[int, Row]) -> None:
        """A commit has returned: `rows` are those it names, as the disk has them."""
        for change in changes:
            seq = change.message.seq
            if seq not in rows:
                self._violate("I4", f"message {seq} has gone to {change.state.name}, and is not in the queue")
            elif rows[seq].state is not change.state:
                self._violate("I4", f"message {seq} is {rows[seq].state.name} on disk and not {change.state.name}")
        for message in messages:
            row = rows.get(message.seq)
            if row is not None and (row.callback != message.callback or row.body != message.body):
                self._violate("I7", f"message {message.seq} is not on disk as it was received")
        # changes first, as in the commit itself
        for row in sorted(rows.values(), key=lambda row: (row.seq not in self.rows, row.seq)):
            if row.seq not in self.rows:
                self._committed_now += 1
            self._take(row)

    def _take(self, row: Row) -> None:
        before = self.rows.get(row.seq)
        self.rows[row.seq] = row
        if before is not None:
            if before.state.ended and row.state is not before.state and row.state is not State.RESPONSE_SENT:
                self._violate("I4", f"message {row.seq} had ended as {before.state.name} and is {row.state.name}")
        else:
            twin = self._newest.get(row.key)
            if twin is not None and twin.seq < row.seq and twin.stands_for(row):
                self._violate("I3", f"{row.key} is in the queue twice, as {twin.seq} and {row.seq}")
            other = self._by_callback.get(row.callback)
            if other is not None and other.seq != row.seq:
                self._violate("I3", f"messages {other.seq} and {row.seq} have the same key")
        self._by_callback[row.callback] = row
        newest = self._newest.get(row.key)
        if newest is None or newest.seq <= row.seq:
            self._newest[row.key] = row

    def counted(self, depths: Mapping[str, ChannelDepth]) -> None:
        """The store says how many messages are in which state."""
        counted = {(name, state): count for name, depth in depths.items() for state, count in depth.counts.items() if count}
        found = Counter((row.channel, row.state) for row in self.rows.values())
        if counted != dict(found):
            differing = sorted(set(counted.items()) ^ set(found.items()))
            self._violate("I4", f"the counters are not those of the rows: {differing}")

    # -- the devices --------------------------------------------------------------------------------------------------

    def acknowledged(self, key: Key, code: str) -> None:
        """A commit acknowledgment leaves."""
        if key not in self._newest:
            self._violate("I6", f"{key} is acknowledged with {code}, and no commit of it has returned")
        self._promised.setdefault(key, code)

    def answered(self, message: InboundMessage, answer: Answered | None, sent: Mapping[str, Sent], *, accepted: bool) -> None:
        """The server's word leaves over a connection; `sent` is what has come over it, by control ID.

        One that is `accepted` without an answer of the server has been filtered.
        """
        name = f"{message.channel} {message.control_id}"
        if message.control_id not in sent:
            self._violate("I5", f"the answer to {name} goes to a connection that it did not come from")
        elif answer is None and accepted and self._key(message, sent) not in self._filtered:
            self._violate("I1", f"{name} is accepted without an answer of the server, and was not filtered")
        elif answer is not None and answer.control_id != message.control_id:
            self._violate("I5", f"{name} gets the answer to {answer.control_id}")
        elif answer is not None and answer.mark != sent[message.control_id].mark:
            self._violate("I5", f"{name} of {sent[message.control_id].mark} gets the answer to {answer.mark}")
        elif answer is not None and not self.served[message.channel, answer.control_id, answer.mark]:
            self._violate("I1", f"{name} gets the server's answer, and the server has not taken it")

    def _key(self, message: InboundMessage, sent: Mapping[str, Sent]) -> Key:
        return (message.channel, message.control_id, sent[message.control_id].mark)

    # -- the server ---------------------------------------------------------------------------------------------------

    def transmitted(self, frame: Transmit, sent: Sent) -> None:
        """A message leaves for the server."""
        key = (frame.channel, sent.control_id, sent.mark)
        row = self._by_callback.get(frame.callback)
        if row is None:
            if key in self._newest:
                self._violate("I3", f"{key} is sent under another key than that of message {self._newest[key].seq}")
            else:
                self._violate("I6", f"{key} is sent, and no commit of it has returned")
            return
        if row.key != key or row.body != frame.body.encode("latin-1"):
            self._violate("I7", f"message {row.seq} is sent with other bytes than were received")
        if frame.callback not in self._first_sent:
            self._first_sent.add(frame.callback)
            last = self._last_first.get(row.channel, 0)
            if row.seq < last:
                self._violate("I2", f"message {row.seq} is sent for the first time after {last}")
            self._last_first[row.channel] = row.seq
        self._journal.note("transmit", row.seq)

    def put_off(self, callback: str) -> None:
        """A plugin has failed on a message that was to be sent: that was its turn, and others pass it."""
        self._first_sent.add(callback)

    def filtered(self, channel: str, sent: Sent) -> None:
        """A transform keeps a message from the server: that was its turn, though a crash may bring another."""
        key = (channel, sent.control_id, sent.mark)
        self._filtered.add(key)
        self._first_sent.add(self._newest[key].callback)

    # -- the agent's own books ----------------------------------------------------------------------------------------

    def settled(self, settled: Sequence[tuple[InboundMessage, State]]) -> None:
        """The agent says that these have ended."""
        for message, state in settled:
            row = self.rows.get(message.seq)
            if message.seq in self._settled:
                self._violate("I4", f"message {message.seq} is settled twice")
            elif row is not None and row.state.ended:
                self._violate("I4", f"message {message.seq} is settled, and had ended before the agent's start")
            elif row is not None and state is State.FILTERED and row.key not in self._filtered:
                self._violate("I1", f"message {message.seq} ends as {state.name}, and no transform has said so")
            elif row is not None and state not in UNSERVED_STATES and not self.served[row.key]:
                self._violate("I1", f"message {message.seq} ends as {state.name}, and the server has not taken it")
            self._settled.add(message.seq)

    def stopped(self, buffered: int) -> None:
        """The agent has stopped in order, and its disk did as it was told."""
        if buffered:
            self._violate("I4", f"{buffered} messages that were read are neither stored nor refused after an orderly stop")
        for seq in self._settled:
            if not self.rows[seq].state.ended:
                self._violate("I4", f"message {seq} has ended, and is {self.rows[seq].state.name} after an orderly stop")

    def closed(self, accepted: int, ended: int, figures: Mapping[str, int]) -> None:
        """All is over: `accepted` and `ended` are what the agent's statistics say since its start."""
        live = [f"{row.seq} {row.state.name}" for row in self.rows.values() if not row.state.ended]
        if live:
            self._violate("liveness", f"{len(live)} message(s) have not ended, such as {live[:5]}")
        if figures["buffered"] or figures["in_flight"]:
            self._violate("I4", f"memory holds what the disk does not: {dict(figures)}")
        if accepted != self._committed_now:
            self._violate("I4", f"{accepted} messages are counted as accepted, and {self._committed_now} were committed")
        if ended != len(self._settled):
            self._violate("I4", f"{ended} messages are counted as ended, and {len(self._settled)} have ended")
        for key, code in self._promised.items():
            row = self._newest[key]
            if row.state not in UNSERVED_STATES and not self.served[key]:
                self._violate("I1", f"{key} was acknowledged with {code}, and the server never took it")
