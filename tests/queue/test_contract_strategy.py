"""The built-in strategies keep what every strategy promises."""

from __future__ import annotations

from dataclasses import replace

from medagent.queue.base import StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.immediate import ImmediateStrategy
from medagent.testing.contracts.strategy import QueueStrategyContract


class TestBatched(QueueStrategyContract):
    def make(self, context: StrategyContext) -> BatchedStrategy:
        return BatchedStrategy(context)


class TestTimer(QueueStrategyContract):
    """`batched` with `batchAdaptive` false: by size and time only."""

    def make(self, context: StrategyContext) -> BatchedStrategy:
        return BatchedStrategy(replace(context, batch=replace(context.batch, adaptive=False)))


class TestImmediate(QueueStrategyContract):
    def make(self, context: StrategyContext) -> ImmediateStrategy:
        return ImmediateStrategy(context)
