"""What the parts of `QueueStoreContract` share."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from pathlib import Path

from medagent.queue.base import QueueStore, Receipt
from medagent.testing.contracts.promise import Contract
from medagent.types import AcceptanceRules, Decision, InboundMessage, State

STORE = "medagent.queue.base.QueueStore"
PLENTY = 1 << 30
BEGUN = 1_767_614_400.0
"""When the message with seq 0 would have been accepted, seconds since the epoch; each later seq is a second later."""


def stored_message(
    seq: int, control_id: str | None = None, body: bytes | None = None, *, rules: AcceptanceRules | None = None
) -> InboundMessage:
    """As the core gives it to a store: channel `adt`, control ID `m<seq>` and a body of its own unless others are given."""
    name = f"m{seq}" if control_id is None else control_id
    return InboundMessage(
        f"body of {name}".encode() if body is None else body,
        name,
        "10.0.0.7:41022",
        "c1",
        rules=rules or AcceptanceRules(),
        channel="adt",
        seq=seq,
        callback=f"Agent/a-1-{seq:012x}",
        accepted_at=BEGUN + seq,
    )


class Fault(Exception):
    """What makes a transaction of the suites fail."""


def failing(message: InboundMessage) -> InboundMessage:
    """With an admission that raises, in the middle of the transaction."""

    def admission(message: InboundMessage, registers: Mapping[str, int], twin: State | None) -> Decision:
        raise Fault

    message.admission = admission
    return message


async def receipt_of(commit: Awaitable[Receipt]) -> Receipt | None:
    """The receipt of a commit; None if it has raised, whatever it was."""
    try:
        return await commit
    except Exception:  # noqa: BLE001  of any type
        return None


def seqs(messages: Iterable[InboundMessage]) -> list[int]:
    return [one.seq for one in messages]


def outcome(receipt: Receipt) -> str:
    """What a receipt says of its only message."""
    kinds = {
        "duplicate": receipt.duplicates,
        "rejected": receipt.rejected,
        "refused": receipt.refused,
        "noted": receipt.noted,
        "committed": receipt.committed,
    }
    return ", ".join(kind for kind, messages in kinds.items() if messages) or "nothing"


async def counts(store: QueueStore, channel: str = "adt") -> dict[State, int]:
    """How many messages are in which state; states without any are left out."""
    depths = await store.depths()
    return {state: count for state, count in depths[channel].counts.items() if count} if channel in depths else {}


def plainly(counted: Mapping[State, int]) -> str:
    return ", ".join(f"{count} {state.name.lower()}" for state, count in sorted(counted.items())) or "none"


class StoreGround(Contract):
    """The factory, and stores that are open for as long as a test needs them."""

    @abstractmethod
    def make(self, folder: Path) -> QueueStore:
        """A store, not open yet, whose queue is in this folder, or goes by its name elsewhere: two stores that are made for
        the same folder, one after the other, have the same queue. A child process calls it too, so it needs no fixtures."""

    @contextlib.asynccontextmanager
    async def _opened(self, folder: Path) -> AsyncIterator[QueueStore]:
        store = self.make(folder)
        await self.within(store.open(), "open() has not returned")
        try:
            yield store
        finally:
            await self.within(store.close(), "close() has not returned")

    async def _all(self, store: QueueStore, channel: str = "adt") -> list[InboundMessage]:
        """The received messages of a channel."""
        return await self.within(store.fetch(channel, 0, 1_000_000, PLENTY), "fetch() has not returned")
