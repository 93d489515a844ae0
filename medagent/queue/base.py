"""The queue's seams: what a store and a strategy must do. The promises they keep are in docs/batching.md."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from medagent.clock import Clock
from medagent.config.model import BatchConfig, Value
from medagent.types import InboundMessage, Refusal, State


@dataclass(slots=True)
class Duplicate:
    """A message that was not stored again because the same bytes under the same control ID are in the queue.

    If the stored one is live, its link and remote are now those of the copy, unless `joined` is False.
    """

    message: InboundMessage
    """The copy."""
    seq: int
    """Of the stored one."""
    state: State
    """Of the stored one."""
    response: str | None
    """The server's acknowledgment, if it has answered."""
    joined: bool = True
    """The copy's connection gets the answer; False if the one that was to get it keeps it (`AcceptanceRules.keeps_answer`)."""


@dataclass(slots=True)
class Receipt:
    """What one commit put on disk. Only a store makes receipts; only what a receipt names is acknowledged."""

    number: int
    """The store's commit sequence."""
    committed: list[InboundMessage] = field(default_factory=list)
    """Stored by this commit."""
    duplicates: list[Duplicate] = field(default_factory=list)
    """Not stored again, because they are."""
    rejected: list[InboundMessage] = field(default_factory=list)
    """Not stored, because their control ID is used (`Duplicates.REJECT`)."""
    reused: list[InboundMessage] = field(default_factory=list)
    """Of the committed: those whose control ID is that of another message."""
    noted: list[InboundMessage] = field(default_factory=list)
    """Messages without a body, whose registers are on disk."""
    refused: list[tuple[InboundMessage, Refusal]] = field(default_factory=list)
    """Not stored, because their `InboundMessage.admission` or that of another part of their batch says so."""
    registers: dict[str, dict[str, int]] = field(default_factory=dict)
    """What this commit has changed, by channel and name."""
    afterwards: Callable[[], Coroutine[Any, Any, None]] | None = None  # Any: what a coroutine's type asks for
    """Called when the receipt has been passed on: work of the store that no acknowledgment waits for. The next commit does."""


class Change:
    """A move of one message between states, to be written with the next commit."""

    __slots__ = ("attempts", "error", "message", "next_attempt_at", "response", "state", "status_code")

    def __init__(
        self,
        message: InboundMessage,
        state: State,
        *,
        response: str | None = None,
        status_code: int | None = None,
        error: str | None = None,
        next_attempt_at: float | None = None,
    ) -> None:
        self.message = message
        self.attempts = message.attempts
        self.state = state
        self.response = response
        self.status_code = status_code
        self.error = error
        self.next_attempt_at = next_attempt_at


@dataclass(frozen=True, slots=True)
class ChannelDepth:
    """How one channel's part of the queue stands on disk."""

    counts: dict[State, int]
    """Messages by state."""
    oldest_accepted_at: float | None
    """Of the oldest live message, seconds since the epoch."""
    removed: int = 0
    """Ended messages that retention has deleted."""
    live_bytes: int = 0
    """Of the live messages' bodies."""

    @property
    def live(self) -> int:
        """Live messages."""
        return sum(count for state, count in self.counts.items() if not state.ended)


@dataclass(frozen=True, slots=True)
class Removal:
    """Which ended messages may be deleted. Times are seconds since the epoch."""

    ended_before: float
    """Those that ended before."""
    errored_before: float
    """The same for those that are `rejected` or `dead_letter`."""
    enough_bytes: int
    """One call deletes no more bodies once it has deleted so much."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What one call of `QueueStore.remove_ended` did."""

    count: int
    """Messages that were deleted."""
    seen_up_to: int | None
    """Where the next call should go on; None if this one has seen all that may have ended so long ago."""


class QueueStore(Protocol):
    """Where messages are kept. Calls come from one event loop, and may overlap; they take effect in order.

    When `commit` returns, what it was given survives a power cut: that is the promise the acknowledgments rest on. Its files
    are for their owner only. `medagent.testing.contracts.store.QueueStoreContract` checks what it can without cutting power.
    """

    damage: str
    """Why the queue cannot be used until it is closed and opened again; "" if it can."""

    async def open(self) -> int:
        """Open or create; messages that were `sent` are `received` again, and `response_queued` ones
        `response_undelivered`. Returns the highest `seq` ever used. Raises `medagent.errors.QueueError`."""

    async def commit(self, messages: Sequence[InboundMessage], changes: Sequence[Change]) -> Receipt:
        """Write `messages`, all of them new, and `changes` of others in one transaction, or raise and write none of it.

        So it is too if the caller is cancelled meanwhile: all is written, or nothing.

        Changes take effect first, so a resend finds the answer that is written with it. Each message is treated in its turn,
        with the registers as the ones before it have left them. One with an `InboundMessage.admission` is stored, taken for a
        duplicate or refused as that decides; a duplicate and a rejected one move no register of their own. Parts with the same
        `InboundMessage.whole` of which one has an admission are stored all or not at all: if one of them is refused, or
        rejected for its control ID, all are in `Receipt.refused` (that one in `Receipt.rejected`), and of their registers only
        those are kept that came with the refusal.
        """

    async def fetch(self, channel: str, after: int, limit: int, max_bytes: int) -> list[InboundMessage]:
        """The next `received` messages of `channel` with a seq above `after`, in order, bodies included; at least one if there
        is any, then no more than `limit` messages and about `max_bytes`."""

    async def fetch_one(self, seq: int) -> InboundMessage | None:
        """The live message `seq` with its body; None if it has ended, or never was."""

    async def retries(self, channel: str) -> list[tuple[int, float]]:
        """(seq, next attempt in seconds since the epoch) of the messages of `channel` in state `error`, in order."""

    async def registers(self) -> dict[str, dict[str, int]]:
        """What `InboundMessage.registers` and numbers have left, by channel and name."""

    async def depths(self) -> dict[str, ChannelDepth]:
        """By channel name; channels that no longer exist in the configuration are included."""

    def given_up(self) -> list[InboundMessage]:
        """Live messages that have ended because they could not be read back, since the last call; only their sizes count."""

    async def maintain(self) -> None:
        """Called once a second: a time to recover, and for what no commit should wait for. Never raises."""

    async def remove_ended(self, removal: Removal, after: int, limit: int) -> Removed:
        """Delete some ended messages, those that `removal` describes.

        Look at no more than `limit`, those with a seq above `after`, in order.

        Live messages stay, and so does the newest of all. May raise as `commit` does.
        """

    async def used_bytes(self) -> int:
        """What the messages take of the disk."""

    async def give_back(self) -> bool:
        """Give some of the space that deleted messages have left back to the disk; whether there is more."""

    def reasons(self) -> list[str]:
        """Why the queue is not well, in words that hold no patient data; empty if it is."""

    async def close(self) -> None:
        """Close; a commit after it raises. More than once does no harm."""


class QueueStrategy(Protocol):
    """When accepted messages are committed. It never acknowledges: the core does, from the store's receipts.

    It commits each message once, those of a channel in the order in which they were put, no more than
    `BatchConfig.max_batch_size` at a time, and lets none wait longer than `BatchConfig.flush_interval_ms` while no commit runs.
    One call of `StrategyContext.commit` runs at a time. It is also made once outside the event loop, to see whether its name is
    known, and thrown away.

    `medagent.testing.contracts.strategy.QueueStrategyContract` checks all this.
    """

    def put(self, messages: Sequence[InboundMessage]) -> None:
        """Take `messages`, those of one read, in order; there may be none. Must not block."""

    async def flush(self) -> None:
        """Commit everything taken so far; return when that is done. Called at shutdown and on reload, more than once, and
        by several at a time. If it is cancelled, what it has not committed is still to be committed."""


@dataclass(frozen=True, slots=True)
class StrategyContext:
    """What the core gives a strategy."""

    batch: BatchConfig
    """The batch settings."""
    commit: Callable[[Sequence[InboundMessage]], Awaitable[None]]
    """Commit these now, in one transaction, with the state changes due. Returns when they are on disk or refused; commits
    run one after the other. Never raises for what goes wrong with the messages."""
    # the result of a background task is not looked at, so its type does not matter
    spawn: Callable[[Coroutine[Any, Any, Any], str], object]
    """Run a coroutine in the background, under a name."""
    settings: Mapping[str, Value] = field(default_factory=dict)
    """Every known Agent.setting by its name, defaults filled in: where a strategy finds its own."""
    clock: Clock = time
    """What to ask for the time, so that a simulation can set it."""


@dataclass(frozen=True, slots=True)
class StoreContext:
    """What the core gives a store."""

    state_dir: str
    """The folder of the agent's state."""
    settings: dict[str, object] = field(default_factory=dict)
    """Empty: a store is opened before the Agent is loaded."""
