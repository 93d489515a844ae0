"""One agent a queue: an advisory lock that its holder keeps for life, and the operating system frees at its death.

The lock is on a file of its own, never on the database: closing any descriptor of the database in this process would drop
the locks that SQLite holds on it (POSIX, fcntl(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

from medagent.errors import QueueError, QueueHeld
from medagent.folders import make_folder

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
LOOK_SECONDS = 0.5


class QueueLock:
    """The lock of one state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "queue.lock"
        self._descriptor: int | None = None

    def try_acquire_for_reading(self) -> bool:
        """Take the lock if nobody holds it, and leave no trace: a look must not make files that the agent cannot open."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise QueueError(f"cannot read the state folder {self._path.parent}: {error.strerror}") from error
        return self._lock(descriptor)

    def _lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it. Raises `QueueError` if the folder cannot be used."""
        try:
            make_folder(self._path.parent)
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise QueueError(f"cannot use the state folder {self._path.parent}: {error.strerror}") from error
        if not self._lock(descriptor):
            return False
        # the text is for people only: a full disk must not keep the agent from its queue
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return True

    @property
    def holder(self) -> str:
        """Who holds it, for people: `process 4711`."""
        try:
            pid = self._path.read_bytes().strip()
        except OSError:
            pid = b""
        return f"process {pid.decode()}" if pid.isdigit() else "another process"

    async def acquire(self, *, wait: bool, waiting: Callable[[], None] = lambda: None) -> None:
        """Take the lock, after its holder's death if need be. Raises `QueueHeld` if it is held and not `wait`."""
        if self.try_acquire():
            return
        if not wait:
            # it may be but a look: `medagent queue stats` holds the lock for a moment
            await asyncio.sleep(LOOK_SECONDS)
            if self.try_acquire():
                return
            raise QueueHeld(f"{self.holder} holds the queue in {self._path.parent}: stop it, or give another --state-dir")
        log.warning("%s holds the queue in %s: waiting for it to end", self.holder, self._path.parent)
        waiting()
        while not self.try_acquire():  # noqa: ASYNC110  flock has no asynchronous form, and a blocked thread cannot be ended
            await asyncio.sleep(POLL_SECONDS)
        log.info("the queue in %s is free: taking over", self._path.parent)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
