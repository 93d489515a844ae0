"""An asyncio event loop on virtual time: it never waits, does no I/O, and runs everything in an order that a seed decides."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, cast

T = TypeVar("T")

TICKS = 1024
"""Timers are due on multiples of this fraction of a second, so that many fall together, and their order is the seed's."""
MOST_WITHOUT_TIME = 200_000
"""Callbacks without any time passing, after which the loop holds that there will be no end to it."""


class Stalled(Exception):
    """Nothing is left to run, or time has ceased to pass."""


class Process:
    """What dies together: the callbacks, timers and tasks that came from code run in `context`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.tasks: list[asyncio.Task[Any]] = []  # of any result
        self.context: Context = copy_context()
        self.context.run(_PROCESS.set, self)

    def die(self) -> None:
        """None of its callbacks runs any more. What runs at the moment goes on, and must be kept from having effects."""
        self.alive = False


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


class VirtualLoop:
    """The part of `asyncio.AbstractEventLoop` that is no I/O.

    Callbacks made ready by `call_soon` run in order, as asyncio promises; timers due at one moment in any order.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._loop = cast(asyncio.AbstractEventLoop, self)
        self._now = 0.0
        self._ready: deque[tuple[asyncio.Handle, Process | None]] = deque()
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle, Process | None]] = []
        self._made = 0
        self._tasks: list[asyncio.Task[Any]] = []  # of any result
        self._prune_at = 256
        self._without_time = 0
        self.steps = 0
        """Callbacks run so far."""
        self.failure: BaseException | None = None
        """Set to have the loop stop and raise it after the callback at hand, whoever would catch it there."""
        self.on_exception: Callable[[str], None] = lambda text: None
        """Told of exceptions that nobody handles."""

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    # asyncio's signature: callbacks take anything
    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self._loop, context)
        self._ready.append((handle, _process_of(context)))
        return handle

    # as above
    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + max(delay, 0.0), callback, *args, context=context)

    # as above
    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        due = math.ceil(when * TICKS) / TICKS
        handle = asyncio.TimerHandle(due, callback, args, self._loop, context)
        self._made += 1
        heapq.heappush(self._timers, (due, self._random.random(), self._made, handle, _process_of(context)))
        return handle

    # the name is asyncio's own: a handle tells its loop
    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays until it is due; then it does nothing."""

    def create_future(self) -> asyncio.Future[Any]:  # of any result
        return asyncio.Future(loop=self._loop)

    # as in asyncio: of any result
    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self._loop, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._prune_at = max(256, 2 * len(self._tasks))
        return task

    # the shape of asyncio's exception context
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.on_exception(f"{context.get('message')}: {type(error).__name__} {error}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:  # as above
        self.call_exception_handler(context)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` has ended; returns its result. Raises `Stalled`, and what `failure` is set to."""
        asyncio._set_running_loop(self._loop)  # documented for those who write loops
        try:
            task = self.create_task(main)
            while not task.done():
                self._turn()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _turn(self) -> None:
        if not self._ready:
            if not self._timers:
                raise Stalled("nothing is left to run")
            if self._timers[0][0] > self._now:
                self._now = self._timers[0][0]
                self._without_time = 0
        while self._timers and self._timers[0][0] <= self._now:
            _, _, _, handle, process = heapq.heappop(self._timers)
            self._ready.append((handle, process))
        for _ in range(len(self._ready)):
            self._run_one(*self._ready.popleft())
        if self._without_time > MOST_WITHOUT_TIME:
            raise Stalled("callbacks follow each other without end, and no time passes")

    def _run_one(self, handle: asyncio.Handle, process: Process | None) -> None:
        if handle.cancelled() or (process is not None and not process.alive):
            return
        self.steps += 1
        self._without_time += 1
        handle._run()
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Close the coroutines that have not ended, without a word: those of processes that died hold half-done work."""
        asyncio._set_running_loop(self._loop)
        try:
            for task in self._tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]  # a process that dies says nothing
                    coroutine = task.get_coro()
                    try:
                        coroutine.close()
                    # what a dead process does in its clean-up is of no interest
                    except BaseException as error:  # noqa: BLE001  as said above
                        self.on_exception(f"in the end: {type(error).__name__}")
            self._ready.clear()
            self._timers.clear()
            self._tasks.clear()
        finally:
            asyncio._set_running_loop(None)


def _process_of(context: Context | None) -> Process | None:
    return _PROCESS.get() if context is None else context.get(_PROCESS, None)
