"""Whether the disk takes what it is given: what is done when it is full, and after an input or output error.

A commit whose flush has failed is not on the disk, and a second flush that succeeds does not put it there: the system may have
forgotten the pages. So after such an error the log is copied into the file, from memory, before anything is trusted again.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable

from medagent.clock import Clock
from medagent.errors import StorageFailed
from medagent.queue.sqlite.reserve import Reserve
from medagent.throttle import Throttle

log = logging.getLogger(__name__)

QUIET_SECONDS = 60.0
"""Between two alarms of one kind."""
CALM_SECONDS = 5.0
"""Without a failure before it is said that all is well."""
REGAIN_SECONDS = 1.0
"""Between two looks for space."""


class Storage:
    """The disk of one queue."""

    def __init__(self, reserve: Reserve, checkpoint: Callable[[sqlite3.Connection], None], clock: Clock) -> None:
        """`checkpoint` copies the whole log into the file, and raises `sqlite3.Error`."""
        self._clock = clock
        self._reserve = reserve
        self._checkpoint = checkpoint
        self._full = False
        self._suspect = False
        self._reason = ""
        self._alarms = Throttle(QUIET_SECONDS)
        self._failed_at = 0.0
        self._looked_at = -REGAIN_SECONDS
        self.checkpoints = 0
        """How often the file was written for the disk's sake."""

    def before_opening(self) -> None:
        """A disk that is full now must not keep the queue from being opened."""
        if not self._reserve.make() or self._reserve.needed:
            self._reserve.free()
            self._full = True
            self._alarm("the disk is full")

    def before_commit(self, connection: sqlite3.Connection, *, storing: bool) -> None:
        """Raises `StorageFailed` if nothing can be written, or no message stored while what is left serves the states."""
        if self._suspect:
            self._make_sure(connection)
        if storing and self._full and not self._regain():
            raise StorageFailed(self._reason)

    def failed(self, connection: sqlite3.Connection, error: BaseException) -> BaseException:
        """A commit has failed and is rolled back; returns what to raise."""
        name = getattr(error, "sqlite_errorname", None) or ""
        if name.startswith("SQLITE_FULL"):
            self._full = True
            self._alarm("the disk is full")
            self._reserve.free()
            self.checkpoints += 1
            with contextlib.suppress(sqlite3.Error):
                self._checkpoint(connection)
        elif name.startswith("SQLITE_IOERR"):
            self._suspect = True
            self._alarm(f"the disk fails ({name})")
        else:
            return error
        return StorageFailed(self._reason)

    def maintain(self, connection: sqlite3.Connection) -> None:
        """Try whether the disk is well again. Raises `StorageFailed`."""
        if self._suspect:
            self._make_sure(connection)
        if (not self._full or self._regain()) and self._reason and self._clock.monotonic() - self._failed_at > CALM_SECONDS:
            log.warning("messages are stored again, after: %s", self._reason)
            self._reason = ""

    def _regain(self) -> bool:
        """Whether there is space again: then the reserve is there again too."""
        now = self._clock.monotonic()
        if now - self._looked_at < REGAIN_SECONDS:
            return False
        self._looked_at = now
        if self._reserve.make():
            self._full = False
        return not self._full

    def _make_sure(self, connection: sqlite3.Connection) -> None:
        self.checkpoints += 1
        try:
            self._checkpoint(connection)
        except sqlite3.Error as error:
            raise StorageFailed(self._reason) from error
        self._suspect = False

    def _alarm(self, reason: str) -> None:
        now = self._failed_at = self._clock.monotonic()
        if self._alarms.passes(reason, now):
            log.error("%s: messages are refused until it is well; delivery goes on", reason)
        self._reason = reason

    def reasons(self) -> list[str]:
        """Why messages were refused a moment ago."""
        return [self._reason] if self._reason else []
