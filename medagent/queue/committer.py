"""The one place where the queue is written: it commits what a strategy decided, with the state changes that are due.

It alone turns a store's receipt into acknowledgments, so a strategy that claims too much changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from medagent.errors import QueueError, StorageFailed
from medagent.queue.base import Change, ChannelDepth, QueueStore, Receipt
from medagent.queue.parts import with_parts
from medagent.tasks import Tasks
from medagent.types import InboundMessage, State

log = logging.getLogger(__name__)

FAILED_DELAY = 1.0
"""Seconds before a change of state that could not be written is tried again, at least."""


class Committer:
    """Commits messages and changes, one transaction after the other."""

    def __init__(
        self,
        store: QueueStore,
        *,
        on_receipt: Callable[[Receipt], None],
        on_refused: Callable[[InboundMessage], None],
        on_ended: Callable[[InboundMessage], None] | None = None,
        change_delay: float,
        tasks: Tasks,
    ) -> None:
        """`on_ended` hears of each live message as it ends; `change_delay`: seconds that a change of state may wait for a
        commit to ride on."""
        self._store = store
        self._on_receipt = on_receipt
        self._on_refused = on_refused
        self.on_ended = on_ended
        self.change_delay = change_delay
        self._tasks = tasks
        self._lock = asyncio.Lock()
        # a `sent` mark is worth little (after a crash it means "send again"), so it waits for the answer to supersede it
        self._sent: dict[int, Change] = {}
        self._settled: dict[int, Change] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sent_due = 0.0
        self._writing: dict[int, Change] = {}
        """Changes of the commit that is running."""
        self.failures = 0
        self.fault = ""
        """Why the last commit failed; "" since one has succeeded."""

    async def commit(self, messages: Sequence[InboundMessage]) -> None:
        """Commit messages with the changes due; afterwards each has been acknowledged or refused."""
        await self._lock.acquire()
        loop = asyncio.get_running_loop()
        await self._to_its_end(messages, self._take_changes(everything=loop.time() >= self._sent_due))

    async def flush_changes(self) -> None:
        """Commit all changes of state now."""
        await self._lock.acquire()
        await self._to_its_end((), self._take_changes(everything=True))

    async def _to_its_end(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> None:
        """Commit these, if there are any; the caller has taken the lock, which is free again when that is over.

        A commit goes on in its thread even if the caller is cancelled: its receipt must not be lost, and what is newer must
        not be written before it.
        """
        if not (messages or changes):
            self._lock.release()
            return
        commit = self._tasks.spawn(self._commit(messages, changes), "commit")
        try:
            await asyncio.shield(commit)
        finally:
            # not before the caller goes on: it looks at what is still unwritten
            if commit.done():
                self._lock.release()
            else:
                commit.add_done_callback(lambda _: self._lock.release())

    async def depths(self) -> dict[str, ChannelDepth]:
        """How the channels stand, changes of state that are not written yet included; writes nothing."""
        async with self._lock:  # no commit may end between the store's word and the changes that are added to it
            depths = await self._store.depths()
            changes = [*self._settled.values(), *self._sent.values()]
        return _with_changes(depths, changes)

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        """Messages in state `error`, as `QueueStore.retries`, changes of state that are not written yet included."""
        async with self._lock:  # as above
            return self.with_unwritten(channel, await self._store.retries(channel))

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Within it nothing is committed."""
        async with self._lock:
            yield

    def with_unwritten(self, channel: str, retries: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
        """What the store says of retries, with what it does not know yet."""
        found = dict(retries)
        for change in [*self._settled.values(), *self._sent.values()]:
            if change.message.channel == channel:
                found.pop(change.message.seq, None)
                if change.next_attempt_at is not None:
                    found[change.message.seq] = change.next_attempt_at
        return sorted(found.items())

    async def _commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> None:
        self._writing = {change.message.seq: change for change in changes}
        try:
            receipt = await self._store.commit(with_parts(messages), changes)
        except StorageFailed:
            # the store says why, and trying one by one would change nothing
            for message in messages:
                self._on_refused(message)
            if messages:
                await self._commit_changes(changes, tried=False)
            else:
                self._keep_all(changes)
        # whatever a store raises means "not on disk", and must become a refusal instead of silence
        except Exception as error:  # noqa: BLE001  as said above
            self._failed(error, len(messages))
            await self._commit_changes(changes, tried=not messages)
            await self._commit_singly(messages)
        else:
            self._succeeded()
            self._on_receipt(receipt)
            if receipt.afterwards is not None:
                await receipt.afterwards()
        finally:
            self._writing = {}

    async def _commit_singly(self, messages: Sequence[InboundMessage]) -> None:
        """One bad message must not take its batch with it."""
        for message in messages:
            try:
                receipt = await self._store.commit(with_parts((message,)), ())
            except StorageFailed:
                self._on_refused(message)
            except Exception as error:  # noqa: BLE001  as above
                self._failed(error, 1)
                self._on_refused(message)
            else:
                self._succeeded()
                self._on_receipt(receipt)

    async def _commit_changes(self, changes: Sequence[Change], *, tried: bool) -> None:
        """All of them in one go, unless that was tried, else one by one; what cannot be written waits for a better time."""
        if tried and len(changes) > 1:
            for change in changes:
                await self._commit_changes((change,), tried=False)
        elif tried or not changes:
            self._keep_all(changes)
        else:
            try:
                await self._store.commit((), changes)
            except StorageFailed:
                self._keep_all(changes)
            except Exception as error:  # noqa: BLE001  as above
                self._failed(error, 0)
                await self._commit_changes(changes, tried=True)

    def _failed(self, error: Exception, count: int) -> None:
        self.failures += 1
        fault = _describe(error)
        if fault != self.fault:
            log.error("the queue refuses to commit: %s; %d message(s) tried one by one", fault, count)
        self.fault = fault

    def _succeeded(self) -> None:
        if self.fault:
            log.warning("the queue commits again, after %s", self.fault)
            self.fault = ""

    def change(self, change: Change) -> None:
        """Have a change of state written with the next commit, or soon."""
        seq = change.message.seq
        if (
            self.on_ended is not None
            and change.state.ended
            and (before := self.state_of(change.message)) is not None
            and not before.ended
        ):
            self.on_ended(change.message)
        if change.state is State.SENT:
            if seq not in self._settled:
                self._sent[seq] = change
        else:
            self._sent.pop(seq, None)
            self._settled[seq] = change
        if self._timer is None:
            self._arm(self.change_delay)

    def _keep_all(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._keep(change)

    def _keep(self, change: Change) -> None:
        """It could not be written: it waits for a better time, unless something newer is to be written."""
        newer = self.pending(change.message.seq)
        if newer is None:
            self._settled[change.message.seq] = change
        elif newer.response is None:
            newer.response = change.response
        if self._timer is None:
            self._arm(max(self.change_delay, FAILED_DELAY))

    def unwritten(self, state: State) -> bool:
        """Whether a change to `state` waits to be written."""
        return any(change.state is state for change in self._settled.values())

    def pending(self, seq: int) -> Change | None:
        """The newest change of a message that is not on disk yet."""
        return self._settled.get(seq) or self._sent.get(seq)

    def state_of(self, message: InboundMessage) -> State | None:
        """Where a message stands, as far as anybody knows."""
        change = self.pending(message.seq) or self._writing.get(message.seq)
        return change.state if change is not None else message.stored_state

    def _arm(self, delay: float) -> None:
        loop = asyncio.get_running_loop()
        self._sent_due = loop.time() + delay
        self._timer = loop.call_at(self._sent_due, self._flush_later)

    def _flush_later(self) -> None:
        self._timer = None
        self._tasks.spawn(self.flush_changes(), "flush of states")

    def _take_changes(self, *, everything: bool) -> list[Change]:
        changes = list(self._settled.values())
        self._settled = {}
        if everything:
            changes += self._sent.values()
            self._sent = {}
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return changes


def _with_changes(depths: Mapping[str, ChannelDepth], changes: Iterable[Change]) -> dict[str, ChannelDepth]:
    """The depths as they will be when these changes are written."""
    counts = {name: dict(depth.counts) for name, depth in depths.items()}
    sizes = {name: depth.live_bytes for name, depth in depths.items()}
    for change in changes:
        message, old = change.message, change.message.stored_state
        if old is not None and message.channel in counts:
            of_channel = counts[message.channel]
            of_channel[old] -= 1
            of_channel[change.state] = of_channel.get(change.state, 0) + 1
            if change.state.ended and not old.ended:
                sizes[message.channel] -= message.size
    return {
        name: ChannelDepth(
            of_channel,
            depths[name].oldest_accepted_at if any(count for state, count in of_channel.items() if not state.ended) else None,
            depths[name].removed,
            sizes[name],
        )
        for name, of_channel in counts.items()
    }


def _describe(error: Exception) -> str:
    """A failed commit in words that hold no data: SQLite's own texts may quote a statement."""
    if isinstance(error, QueueError):
        return str(error)
    return getattr(error, "sqlite_errorname", None) or type(error).__name__
