"""A time limit for a plugin's code that runs in the main thread, by the alarm signal (setitimer(2))."""

from __future__ import annotations

import signal
import sysconfig
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

from medagent.errors import PluginTimeout

IMPORT_SECONDS = 10.0
"""What a plugin may take to be imported and registered."""
REPEAT_SECONDS = 0.5
"""Between interruptions, if the first one is swallowed."""

STANDARD_LIBRARY = sysconfig.get_path("stdlib")

T = TypeVar("T")


def _where(frame: FrameType | None) -> str:
    """File and line of the innermost code that is not Python's own."""
    while frame is not None:
        file = frame.f_code.co_filename
        if "site-packages" in file or not file.startswith((STANDARD_LIBRARY, "<frozen ")):
            return f"{Path(file).name}, line {frame.f_lineno}"
        frame = frame.f_back
    return "unknown"


class _TimeUp(BaseException):
    """Not an `Exception`: the interrupted code has many handlers for these."""


class _Alarm:
    """The handler of the signal."""

    def __init__(self) -> None:
        self.armed = True
        self.rang_at = ""
        """Where the code was when it first rang: file and line."""

    def ring(self, _number: int, frame: FrameType | None) -> None:
        if not self.armed:
            return
        if not self.rang_at:
            self.rang_at = _where(frame)
        raise _TimeUp


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. Raises `PluginTimeout` if it took longer, even if it then came to an end.

    Signals reach only the main thread: elsewhere there is no limit. Code that never returns to the interpreter is not
    interrupted (`medagent.plugins.marker`). Handler and timer are restored.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGALRM) is None:
        return work()
    alarm = _Alarm()
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, alarm.ring)
    delay, interval = signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT_SECONDS)
    try:
        try:
            result = work()
        finally:
            alarm.armed = False
    except KeyboardInterrupt:
        raise
    # what an interrupted plugin raises says nothing of why
    except BaseException:
        if not alarm.rang_at:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if delay:
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - began), 0.001), interval)
    if alarm.rang_at:
        raise PluginTimeout(f"its import takes more than {seconds:g} s (it was in {alarm.rang_at})")
    return result
