"""The built-in plugin with the queue strategies `batched` and `immediate` and the store `sqlite`."""

from __future__ import annotations

from pathlib import Path

from medagent import hookimpl
from medagent.queue.base import QueueStore, QueueStrategy, StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.immediate import ImmediateStrategy
from medagent.queue.sqlite.store import SqliteStore


@hookimpl
def medagent_make_queue_strategy(name: str, context: StrategyContext) -> QueueStrategy | None:
    if name == "batched":
        return BatchedStrategy(context)
    if name == "immediate":
        return ImmediateStrategy(context)
    return None


@hookimpl
def medagent_make_queue_store(url: str) -> QueueStore | None:
    scheme, _, path = url.partition(":")
    return SqliteStore(Path(path)) if scheme == "sqlite" else None
