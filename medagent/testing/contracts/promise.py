"""What the suites share: a test is one promise, a failure says what was promised, what happened, and where it is written."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import threading
import time
import traceback
from abc import ABC
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from types import FrameType
from typing import Any, ClassVar, TypeVar, cast

import pytest

T = TypeVar("T")
# a test function, whatever its fixtures
Test = TypeVar("Test", bound=Callable[..., Any])


class Broken(Exception):
    """A promise is not kept; the text says what happened."""


class _Blocked(Exception):
    """Raised by a signal in the middle of code that does not give the event loop back."""


def expect(kept: object, happened: str) -> None:
    """Raise `Broken` unless `kept`."""
    if not kept:
        raise Broken(happened)


class Contract(ABC):  # noqa: B024  what is abstract is what each suite asks its author for
    """The ground of all suites."""

    patience: ClassVar[float] = 10.0
    """How long a test waits for what has to come, and bears with code that blocks the event loop, seconds."""

    @functools.cached_property
    def raised(self) -> list[BaseException]:
        """What the plugin's code has raised where the core, its stand-in or the event loop has caught it."""
        return []

    async def until(self, condition: Callable[[], object], otherwise: str | Callable[[], str]) -> None:
        """Wait until a condition holds. Raises `Broken` with the text `otherwise`, if it does not within `patience`."""
        give_up = time.monotonic() + self.patience
        while not condition():
            if time.monotonic() > give_up:
                raise self._too_late(otherwise)
            await asyncio.sleep(0.001)

    async def within(self, awaitable: Awaitable[T], otherwise: str | Callable[[], str]) -> T:
        """Await something. Raises `Broken` with the text `otherwise`, if that takes longer than `patience`."""
        try:
            async with asyncio.timeout(self.patience):
                return await awaitable
        except TimeoutError:
            raise self._too_late(otherwise) from None

    def _too_late(self, otherwise: str | Callable[[], str]) -> Broken:
        text = otherwise if isinstance(otherwise, str) else otherwise()
        return Broken(f"after {self.patience:g} s: {text}")


def promise(written: str) -> Callable[[Test], Test]:
    """Make a method of a `Contract` a test; its docstring is what is promised, `written` where a plugin's author reads it."""

    def decorate(test: Test) -> Test:
        promised = " ".join((test.__doc__ or "").split())

        @contextlib.contextmanager
        def told(raised: Sequence[BaseException]) -> Iterator[None]:
            try:
                yield
            except Broken as error:
                happened = str(error)
            except _Blocked as error:
                happened = str(error)
            except Exception as error:
                error.add_note(f"Promised: {promised}\nWritten:  {written}")
                raise
            else:
                return
            text = f"Promised: {promised}\nHappened: {happened}\nWritten:  {written}"
            if raised:
                first = "".join(traceback.format_exception(raised[0]))
                text += (
                    f"\nRaised:   {len(raised)} exception(s) that the core or the event loop has caught; the first:\n{first}"
                )
            raise pytest.fail.Exception(text, pytrace=False) from None

        # the arguments are the test's fixtures
        @functools.wraps(test)
        def plain(self: Contract, *arguments: Any, **fixtures: Any) -> None:
            with told(self.raised):
                test(self, *arguments, **fixtures)

        # as above
        @functools.wraps(test)
        async def on_the_loop(self: Contract, *arguments: Any, **fixtures: Any) -> None:
            asyncio.get_running_loop().set_exception_handler(partial(_note, self.raised))
            with told(self.raised), _alarm(self.patience) as blocked:
                pulse = asyncio.ensure_future(_pulse(self.patience))
                try:
                    await test(self, *arguments, **fixtures)
                finally:
                    pulse.cancel()
                    if blocked:
                        raise Broken(f"for {self.patience:g} s the event loop was blocked by {blocked[0]}")

        if not inspect.iscoroutinefunction(test):
            return cast(Test, plain)
        return cast(Test, pytest.mark.asyncio(on_the_loop))

    return decorate


# as asyncio hands it over
def _note(raised: list[BaseException], loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a callback has raised, such as `data_received`."""
    if isinstance(error := context.get("exception"), BaseException):
        raised.append(error)
    loop.default_exception_handler(context)


async def _pulse(seconds: float) -> None:
    """Put the alarm off for as long as the event loop turns."""
    while threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, seconds)
        await asyncio.sleep(seconds / 4)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[list[str]]:
    """Raise in whatever code runs when the alarm goes off; the list then says where that was."""
    places: list[str] = []

    def ring(_: int, frame: FrameType | None) -> None:
        where = "unknown code" if frame is None else f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        places.append(where)
        raise _Blocked(f"the event loop was blocked by {where}")

    if threading.current_thread() is not threading.main_thread():
        yield places
        return
    begun = time.monotonic()
    handler = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield places
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's limit, such as pytest-timeout's
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 0.01), interval)
