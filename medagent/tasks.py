"""Background tasks that are kept, named, ended, and whose failures are seen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["Tasks"]

log = logging.getLogger(__name__)


class Tasks:
    """A set of background tasks with one owner.

    The event loop keeps only weak references to tasks, so a task that nobody holds can vanish; this holds them. A failure
    is logged by type only, since exception texts may quote data.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    # the result of a background task is not looked at, so its type does not matter
    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `coroutine` in the background; `name` is for the log."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task %s failed: %s", task.get_name(), type(error).__name__)

    async def cancel(self) -> None:
        """Cancel all of them and wait until they have ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
