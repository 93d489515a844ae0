"""Reading messages back from the queue's file into a lane, past what memory knows better."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager

from medagent.queue.base import QueueStore
from medagent.queue.committer import Committer
from medagent.queue.lane import PAGE_BYTES, PAGE_MESSAGES, Lane
from medagent.types import InboundMessage, State

FAILED_A_PAGE = 50
"""Messages in state `error` that a page brings along at most: they are read one by one."""


class Reader:
    """Reads from the store what a lane asks for."""

    def __init__(self, store: QueueStore, committer: Committer) -> None:
        self._store = store
        self._committer = committer
        self._reading = 0
        self._joined: dict[int, InboundMessage] = {}
        """Copies of messages that may be on their way from the file, by the seq of what they are copies of."""

    def join(self, seq: int, copy: InboundMessage) -> None:
        """The device has sent message `seq` again: if it is being read, the copy's connection gets the answer."""
        if self._reading:
            self._joined[seq] = copy

    @contextmanager
    def _underway(self) -> Iterator[None]:
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1
            if not self._reading:
                self._joined.clear()

    def _with_copies(self, found: list[InboundMessage]) -> list[InboundMessage]:
        for message in found:
            if (copy := self._joined.get(message.seq)) is not None:
                message.answer_to(copy)
        return found

    async def read_page(self, lane: Lane, in_flight: Container[str]) -> bool:
        """Give the lane the next page of the queue; False if that must wait. `in_flight` has the callbacks of what was sent."""
        with self._underway():
            return await self._read_page(lane, in_flight)

    async def _read_page(self, lane: Lane, in_flight: Container[str]) -> bool:
        rewinds = lane.rewinds
        # what is not on disk yet would be read in its old state
        await self._committer.flush_changes()
        if lane.rewinds == rewinds and self._committer.unwritten(State.RECEIVED):
            return False  # the queue's file cannot be written: the next tick tries again
        up_to = lane.newest
        found = await self._store.fetch(lane.channel, lane.cursor, PAGE_MESSAGES, PAGE_BYTES)
        if found:
            up_to = found[-1].seq
        failed = lane.failed_before(up_to, FAILED_A_PAGE)
        if failed:
            up_to = failed[-1] if len(failed) == FAILED_A_PAGE else up_to
            found = [message for message in found if message.seq <= up_to]
            found = sorted([*found, *await self.read(failed)], key=lambda message: message.seq)
        if lane.rewinds == rewinds:
            lane.page(self._with_copies([message for message in found if self._unsent(message, in_flight)]), up_to)
        return True

    def _unsent(self, message: InboundMessage, in_flight: Container[str]) -> bool:
        """Whether memory knows no more of a message than the queue's file, which could not be written for a while."""
        pending = self._committer.pending(message.seq)
        return message.callback not in in_flight and (pending is None or pending.state is State.RECEIVED)

    async def read(self, seqs: Sequence[int]) -> list[InboundMessage]:
        """These messages with their bodies, but for those that have ended."""
        if any(self._committer.pending(seq) for seq in seqs):
            await self._committer.flush_changes()
        with self._underway():
            return self._with_copies([found for seq in seqs if (found := await self._store.fetch_one(seq)) is not None])
