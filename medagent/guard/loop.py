"""An event loop that no callback of a plugin ends.

asyncio raises a `SystemExit` of a task or callback out of the running loop, since it cannot know whose it is
(https://docs.python.org/3/library/asyncio-task.html#asyncio.Task), and logs other exceptions of callbacks with their texts.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Coroutine
from typing import Any, TypeVar

from medagent.guard.guards import Guards
from medagent.guard.place import raised_at

log = logging.getLogger(__name__)

T = TypeVar("T")


def run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T], guards: Guards) -> T:
    """Run `main` on a loop that is not running; what callbacks raise meanwhile are the faults of those who own them.

    Raises what `main` does. A callback that stops the loop does not end it.
    """
    loop.set_exception_handler(lambda _loop, context: _failed(context, guards))
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except SystemExit as error:
            if task.done() or not _belongs(error, guards):
                raise
        except RuntimeError:
            if task.done() or loop.is_closed():
                raise
            log.error("some code, perhaps a plugin's, has stopped the event loop; it goes on")


# as asyncio hands it over
def _failed(context: dict[str, Any], guards: Guards) -> None:
    """In the place of the loop's own handler, whose lines would hold the exceptions' texts, and with them perhaps messages."""
    error = context.get("exception")
    if error is None or not _belongs(error, guards):
        log.error("a callback of the event loop failed: %s", type(error).__name__ if error is not None else context["message"])


def _belongs(error: BaseException, guards: Guards) -> bool:
    """Whether a plugin's code has raised it; then that has been counted."""
    frames = guards.owners.innermost(frame for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))))
    if frames:
        plugin = guards.owners.of(frames[0].f_code)
        place = raised_at(error, lambda frame: guards.owners.of(frame.f_code) == plugin)
        guards.raised(frames, type(error).__name__ + place)
    return bool(frames)
