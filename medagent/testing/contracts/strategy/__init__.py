"""`QueueStrategyContract`: what a queue strategy promises, checked between a real intake, committer and store."""

from __future__ import annotations

from medagent.testing.contracts.strategy.committing import Committing
from medagent.testing.contracts.strategy.failing import Failing
from medagent.testing.contracts.strategy.flushing import Flushing

__all__ = ["QueueStrategyContract"]


class QueueStrategyContract(Failing, Flushing, Committing):
    """Subclass it, and define `make`; every test is a promise of `medagent.queue.base.QueueStrategy`."""
