"""`QueueStoreContract`: what a queue store promises. Its parts are by subject; the source is `medagent.queue.base`."""

from __future__ import annotations

from medagent.testing.contracts.store.crashes import Crashes
from medagent.testing.contracts.store.ground import stored_message
from medagent.testing.contracts.store.keeping import Keeping
from medagent.testing.contracts.store.model import AtRandom
from medagent.testing.contracts.store.taking import Taking

__all__ = ["QueueStoreContract", "stored_message"]


class QueueStoreContract(AtRandom, Crashes, Taking, Keeping):
    """Subclass it, and define `make`; every test is a promise of `medagent.queue.base.QueueStore`."""
