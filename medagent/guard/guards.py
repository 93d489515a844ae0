"""All guards of one agent: made once for each thing of each plugin, and shown in the status."""

from __future__ import annotations

import time
import traceback
from collections.abc import Container
from types import FrameType
from typing import Any
from weakref import ref

from medagent.clock import Clock
from medagent.guard.consequences import consequence
from medagent.guard.guard import Guard, SlowCalls
from medagent.guard.owners import Owners

CALLBACK = "a callback"
"""What is called that the event loop has called, and nobody knows for which thing of its plugin."""
_FRAMES = frozenset(function.__code__ for function in (Guard.attempt, Guard._within))


class Guards:
    """Finds and makes guards, and says which of them stopped what."""

    def __init__(self, clock: Clock = time) -> None:
        self.owners = Owners()
        self.built_in: set[str] = set()
        """Plugins that are never stopped."""
        self._clock = clock
        self._guards: dict[tuple[str, str], Guard] = {}
        self._all: list[ref[Guard]] = []
        """Those too of things that others come in the place of, as long as they are there."""
        self._slow_calls: SlowCalls | None = None

    def of(self, plugin: str, where: str) -> Guard:
        """The guard of this thing, made at the first call."""
        return self._guards.get((plugin, where)) or self.renew(plugin, where)

    def renew(self, plugin: str, where: str, *, stoppable: bool = True) -> Guard:
        """A guard for a thing that is made anew: nothing but the faults so far remains of the one before."""
        guard = Guard(plugin, where, stoppable=stoppable and plugin not in self.built_in, clock=self._clock)
        guard.slow_calls, guard.owners = self._slow_calls, self.owners
        if (before := self._guards.get((plugin, where))) is not None:
            guard.faults, guard.last_fault, guard.failed_at = before.faults, before.last_fault, before.failed_at
        self._guards[plugin, where] = guard
        # a new list: the watchdog's thread may be looking at the old one
        self._all = [*(each for each in self._all if each() is not None), ref(guard)]
        return guard

    def watch(self, slow_calls: SlowCalls | None) -> None:
        """Have slow calls judged from now on, or no longer."""
        self._slow_calls = slow_calls
        for guard in self._living:
            guard.slow_calls = slow_calls

    @property
    def _living(self) -> list[Guard]:
        return [guard for each in self._all if (guard := each()) is not None]

    def responsible(self, frames: list[FrameType]) -> list[Guard]:
        """The guards whose code is running in these frames of one plugin, innermost first.

        It is one, if the core has called it or if a callback has hold of what is one channel's; else it is all objects of
        the plugin, since nobody can tell.
        """
        plugin = self.owners.of(frames[0].f_code)
        # the core's own frames too: a connection may be the core's, and what it calls the plugin's
        stack = [*(frame for frame, _ in traceback.walk_stack(frames[0])), *frames]
        for frame in stack:
            guard = frame.f_locals.get("self") if frame.f_code in _FRAMES else None
            if isinstance(guard, Guard) and guard.plugin == plugin:
                return [guard]
        own = [guard for guard in self._living if guard.plugin == plugin and guard.subjects]
        for frame in stack:
            for guard in own:
                if _has_hold(frame, guard.subjects):
                    return [guard]
        return own or [self.of(plugin, CALLBACK)]

    def raised(self, frames: list[FrameType], reason: str) -> None:
        """A callback has raised something in these frames of one plugin, innermost first."""
        guards = self.responsible(frames)
        guard = guards[0] if len(guards) == 1 else self.of(guards[0].plugin, CALLBACK)
        guard.fault("" if guard.where == CALLBACK else CALLBACK, reason)

    # plain JSON
    def report(self) -> list[dict[str, Any]]:
        """Each thing that has failed since the start."""
        return [
            {
                "plugin": guard.plugin,
                "where": guard.where,
                "faults": guard.faults,
                "last_fault": guard.last_fault,
                "stopped": guard.breaker.open,
                "seconds_left": round(guard.seconds_left, 1),
            }
            for guard in self._guards.values()
            if guard.faults
        ]

    def settle(self, beginning: str) -> None:
        """What these things, whose names begin so, have failed in lasts no longer."""
        for (_, where), guard in self._guards.items():
            if where.startswith(beginning):
                guard.lasting = ""

    def reasons(self, told: Container[str] = ()) -> list[str]:
        """What is stopped, has failed lately or lasts, and what follows; without the things that somebody has `told` of."""
        return [_reason(guard) for guard in self._guards.values() if guard.where not in told and _is_unwell(guard)]


def _is_unwell(guard: Guard) -> bool:
    return bool(guard.seconds_left or guard.lasting or guard.failed_lately)


def _reason(guard: Guard) -> str:
    said = guard.stopped if guard.seconds_left else guard.last_fault
    return f"plugin {guard.plugin}, {guard.where}: {said}; {guard.lasting or consequence(guard.where)}"


def _has_hold(frame: FrameType, subjects: tuple[object, ...]) -> bool:
    """Whether the object whose method runs is one of these, or has one as an attribute."""
    names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    this = frame.f_locals.get(names[0]) if names else None
    slots = [name for kind in type(this).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [*getattr(this, "__dict__", {}).values(), *(getattr(this, name, None) for name in slots)]
    return any(one is subject for one in (this, *held) for subject in subjects)
