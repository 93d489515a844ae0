"""A watchdog over the event loop: which plugin keeps it from turning?

In one process nobody can stop a function that does not return. But a thread can see it, name it while it lasts, and have the
plugin stopped when the loop turns again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from medagent.guard.guard import BLOCKING_SECONDS, Guard
from medagent.guard.guards import Guards
from medagent.guard.place import place_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""Between two looks at the loop."""
LOOKS = round(BLOCKING_SECONDS / LOOK_SECONDS)
"""At one and the same call of a plugin, without the loop turning, are a fault."""


class Watchdog:
    """Watches the loop that it is started on. It counts its own looks and no time, so a machine that sleeps accuses nobody."""

    def __init__(self, guards: Guards) -> None:
        self._guards = guards
        self._stopped = threading.Event()
        self._turned = threading.Event()
        self._suspects: list[Guard] = []
        """Found guilty by the thread, and stopped when the loop turns."""
        self._place = ""
        self._ident = 0
        """Of the loop's thread."""
        self._cpu_seconds = 0.0
        """Of the loop's thread, at the last look."""
        self._unseen_seconds = 0.0
        """Of its processor time between the last two looks."""

    def start(self) -> None:
        """Watch the running loop, whose thread is this one."""
        loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(loop,), name="watchdog of the event loop", daemon=True)
        self._cpu_seconds = time.thread_time()
        self._turned.set()
        self._guards.watch(self)
        thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._guards.watch(None)
        self._stopped.set()

    # -- in the thread

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        clock = time.pthread_getcpuclockid(self._ident)
        call: FrameType | None = None
        looks = 0
        while not self._stopped.wait(LOOK_SECONDS):
            cpu_seconds = time.clock_gettime(clock)
            self._unseen_seconds, self._cpu_seconds = cpu_seconds - self._cpu_seconds, cpu_seconds
            if self._turned.is_set():
                call, looks = None, 0
                self._turned.clear()
                try:
                    loop.call_soon_threadsafe(self._turn)
                except RuntimeError:  # the loop is closed
                    return
            else:
                frames = self._guards.owners.innermost(_stack(self._ident))
                looks = looks + 1 if frames and frames[-1] is call else 1
                call = frames[-1] if frames else None
                if frames and looks == LOOKS:
                    self._accuse(frames)
                del frames  # which would keep alive what the plugin has let go

    def _accuse(self, frames: list[FrameType]) -> None:
        innermost = frames[0]
        self._place = place_of(innermost, innermost.f_lineno)
        plugin = self._guards.owners.of(innermost.f_code)
        log.error("plugin %s blocks the event loop at %s; it is stopped when the loop turns again", plugin, self._place)
        self._suspects = self._guards.responsible(frames)

    # -- on the loop

    def _turn(self) -> None:
        self._turned.set()
        suspects, self._suspects = self._suspects, []
        for guard in suspects:
            guard.block("", self._place)

    def slow(self, guard: Guard, what: str) -> None:
        """Code that lets no other thread run is seen by nobody but the one who has called it: by the time of its processor."""
        if threading.get_ident() != self._ident:
            return  # it holds up no loop
        unseen = max(self._unseen_seconds, time.thread_time() - self._cpu_seconds)
        if not self._suspects and unseen >= BLOCKING_SECONDS * 0.8:
            log.error("plugin %s has blocked the event loop in %s of %s", guard.plugin, what or "the hook", guard.where)
            guard.block(what)


def _stack(ident: int) -> Iterator[FrameType]:
    """What a thread is in, innermost frame first."""
    frame = sys._current_frames().get(ident)
    while frame is not None:
        yield frame
        frame = frame.f_back
