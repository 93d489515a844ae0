"""One guard stands between the core and one thing of one plugin: a hook, a channel, a sender, an uplink."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Callable, Coroutine
from time import monotonic
from types import CoroutineType
from typing import Any, Protocol, TypeVar

from medagent.awaiting import awaited
from medagent.clock import Clock
from medagent.errors import BrokenPromise, PluginError
from medagent.guard.breaker import Breaker
from medagent.guard.owners import Owners
from medagent.guard.place import raised_at
from medagent.tasks import Tasks
from medagent.throttle import Throttle

log = logging.getLogger(__name__)

T = TypeVar("T")
D = TypeVar("D")

BLOCKING_SECONDS = 1.0
"""A call that keeps the event loop from turning for so long is a fault."""
SECONDS_BETWEEN_NOTES = 10.0
"""Between two lines of the log about faults of one method."""
RECENT_SECONDS = 600.0
"""For so long the status is degraded by a fault that has not come again."""
TASK = "a task"
"""What a coroutine is called that a plugin has spawned."""


class StoppedPlugin(PluginError):
    """A plugin's code is not called: it has failed too often."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds
        """Until it is called again."""


class SlowCalls(Protocol):
    """Who judges calls that have taken long."""

    def slow(self, guard: Guard, what: str) -> None:
        """A call on the event loop's thread has just taken `BLOCKING_SECONDS` or more; the machine may have slept meanwhile."""


class Guard:
    """Calls a plugin's functions, counts their faults and keeps them to the plugin.

    A fault is an exception, those included that would end a task or the process, and a coroutine where a value is expected.
    Faults in a row open the breaker; while it is open nothing is called, and `StoppedPlugin` is raised instead.
    """

    def __init__(self, plugin: str, where: str, *, stoppable: bool = True, clock: Clock = time) -> None:
        """`where`: the hook or thing in words, such as `channel adt`. What is not `stoppable` is called whatever it does."""
        self.plugin = plugin
        self.where = where
        self.stoppable = stoppable
        self.breaker = Breaker()
        self.faults = 0
        self.last_fault = ""
        self.failed_at = -math.inf
        """When that was, monotonic seconds."""
        self.lasting = ""
        """What follows from the last fault for as long as it lasts, however long ago it was; "" if nothing does."""
        self.owners = Owners()
        """Who knows which code is the plugin's."""
        self.opened: Callable[[], None] | None = None
        """Called when the breaker opens."""
        self.subjects: tuple[object, ...] = ()
        """What is the plugin's own of this thing, such as a channel: callbacks that have hold of one of them belong to it."""
        self.slow_calls: SlowCalls | None = None
        self._clock = clock
        self._notes = Throttle(SECONDS_BETWEEN_NOTES)

    @property
    def stopped(self) -> str:
        """Why nothing is called at the moment, and how long; "" if it is."""
        if not self.breaker.open:
            return ""
        return f"{self.breaker.reason}; stopped for {self.seconds_left:.0f} s"

    @property
    def seconds_left(self) -> float:
        """Of the breaker's cool-down."""
        return self.breaker.seconds_left(self._clock.monotonic())

    @property
    def failed_lately(self) -> bool:
        """Within `RECENT_SECONDS`."""
        return self._clock.monotonic() - self.failed_at < RECENT_SECONDS

    def attempt(
        self,
        what: str,
        function: Callable[..., T],
        # arguments are the function's
        *arguments: Any,
        kinds: tuple[type, ...] = (),
        expected: tuple[type[Exception], ...] = (),
        may_await: bool = False,
        regardless: bool = False,
    ) -> T:
        """Call `function`, under the name of a method or "" for the thing itself.

        Raises what it raises, but `BrokenPromise` for what is no `Exception` or a coroutine that was not asked for
        (`may_await`), and `TypeError` if its result must be of one of these `kinds` and is not; an exception of a type
        `expected` is no fault. `KeyboardInterrupt` is the user's.
        `regardless` of the breaker: neither does it keep the call back, nor does it hear of a fault.
        """
        breaker = self.breaker
        if breaker.open and not regardless and not breaker.allows(self._clock.monotonic()):
            raise StoppedPlugin(f"plugin {self.plugin} failed in {self.where}: {self.stopped}", self.seconds_left)
        begin = monotonic()
        try:
            result = function(*arguments)
            # this runs for every message: nothing is called here but what must be
            if kinds:
                if type(result) not in kinds:
                    a_value(result)
                    raise TypeError(f"not a {kinds[0].__name__}")
            elif type(result) is CoroutineType and not may_await:
                a_value(result)
        except KeyboardInterrupt:
            raise
        except expected:
            raise
        # the one place where a plugin's fault is kept from the core; a CancelledError cancels nobody here
        except BaseException as error:
            self.failed(what, error, counts=not regardless)
            if not isinstance(error, Exception):
                raise BrokenPromise.by(error) from error
            raise
        finally:
            if monotonic() - begin >= BLOCKING_SECONDS and self.slow_calls is not None:
                self.slow_calls.slow(self, what)
        if breaker.troubled and not (may_await or regardless):
            breaker.succeeded(what)
        return result

    # as above
    def call(self, what: str, function: Callable[..., T], *arguments: Any, otherwise: D, regardless: bool = False) -> T | D:
        """The same, but never raises: gives `otherwise` instead."""
        try:
            return self.attempt(what, function, *arguments, regardless=regardless)
        except Exception:  # noqa: BLE001  `attempt` has counted and logged it
            return otherwise

    # the result is the plugin's
    async def wait(
        self,
        what: str,
        function: Callable[..., Any],
        *arguments: Any,
        seconds: float | None = None,
        expected: tuple[type[Exception], ...] = (),
        regardless: bool = False,
    ) -> Any:
        """The same for a function that may give an awaitable, which is awaited for so long. Raises `PluginTimeout` too.

        `regardless` of the breaker: neither does it keep the call back, nor does it hear of how it went.
        """
        begun = self.attempt(what, function, *arguments, expected=expected, may_await=True, regardless=regardless)
        work = self._within(begun) if inspect.isawaitable(begun) else begun
        try:
            result = await awaited(work, seconds)
        except expected:
            raise
        except Exception as error:
            self.failed(what, error, counts=not regardless)
            raise
        finally:
            for coroutine in (work, begun):  # cancelled before the first step, they would never have been awaited
                if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                    coroutine.close()
        if self.breaker.troubled and not regardless:
            self.breaker.succeeded(what)
        return result

    # as above
    async def _within(self, begun: Any) -> Any:
        """A frame by which the watchdog sees whose coroutine runs."""
        return await begun

    # the result of a background task is not looked at, so its type does not matter
    def spawner(self, tasks: Tasks) -> Callable[[Coroutine[Any, Any, Any], str], object]:
        """As `Tasks.spawn`, for the plugin's coroutines."""

        async def background(coroutine: Coroutine[Any, Any, Any], name: str) -> None:
            try:
                await self._within(coroutine)
            except (asyncio.CancelledError, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001  as in `attempt`
                self.failed(TASK, error, name)
            else:
                if self.breaker.troubled:
                    self.breaker.succeeded(TASK)

        def spawn(coroutine: Coroutine[Any, Any, Any], name: str) -> object:
            task = tasks.spawn(background(coroutine, name), name)
            # cancelled before its first step, it would never have been awaited
            task.add_done_callback(lambda _: coroutine.close())
            return task

        return spawn

    def failed(self, what: str, error: BaseException, name: str = "", *, counts: bool = True, device: str = "") -> None:
        """Count what the plugin's code has raised: by its type, and where; the text may quote a message. Else as `fault`."""
        described = str(error) if isinstance(error, BrokenPromise) else type(error).__name__
        place = raised_at(error, lambda frame: self.owners.of(frame.f_code) == (self.plugin or None))
        self.fault(what, described + place, name, counts=counts, device=device)

    def fault(self, what: str, reason: str, name: str = "", *, counts: bool = True, device: str = "") -> None:
        """Count a fault, of which `reason` says no more than a type and a place. `name`: of a task.

        `counts`: for the breaker too. `device`: whose data has brought it about, if data has (`Breaker.failed`).
        """
        self.faults += 1
        place = " of ".join(part for part in (f"task {name}" if name else what, self.where) if part)
        self.last_fault = f"{what}: {reason}" if what else reason
        now = self.failed_at = self._clock.monotonic()
        if self._notes.passes(what, now):
            so_far = f" ({self.faults} faults so far)" if self.faults > 1 else ""
            log.error("plugin %s failed in %s: %s%s", self.plugin, place, reason, so_far)
        if counts and self.stoppable and self.breaker.failed(what, now, self.last_fault, device):
            self._note_opening()

    def block(self, what: str, place: str = "") -> None:
        """The plugin has blocked the event loop. `place`: file and line."""
        self.faults += 1
        self.last_fault = (f"{what}: " if what else "") + "blocked the event loop" + (f" at {place}" if place else "")
        now = self.failed_at = self._clock.monotonic()
        if self.stoppable and self.breaker.blocked(now, self.last_fault):
            self._note_opening()

    def _note_opening(self) -> None:
        log.error("plugin %s, %s: %s", self.plugin, self.where, self.stopped)
        if self.opened is not None:
            self.opened()


def a_value(result: T) -> T:
    """What a plugin's function has given, unless it is a coroutine. Raises `BrokenPromise`."""
    if isinstance(result, CoroutineType):
        result.close()
        raise BrokenPromise("it gives a coroutine where a value is expected")
    return result
