"""Calling plugins' code without being at its mercy: faults are counted, breakers open, what blocks the event loop is found."""

from __future__ import annotations

from medagent.guard.breaker import Breaker
from medagent.guard.guard import Guard, StoppedPlugin, a_value
from medagent.guard.guards import Guards
from medagent.guard.loop import run_to_end
from medagent.guard.watchdog import Watchdog

__all__ = ["Breaker", "Guard", "Guards", "StoppedPlugin", "Watchdog", "a_value", "run_to_end"]
