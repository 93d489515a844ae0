"""The store on SQLite keeps what every store promises."""

from __future__ import annotations

from pathlib import Path

from medagent.queue.sqlite.store import QUEUE_NAME, SqliteStore
from medagent.testing.contracts.store import QueueStoreContract


class TestSqlite(QueueStoreContract):
    def make(self, folder: Path) -> SqliteStore:
        return SqliteStore(folder / QUEUE_NAME)
