"""A TCP proxy between any client and any server that cuts, swallows, delays, refuses, injects, doubles and drops on demand."""

from __future__ import annotations

from medagent.testing.faulty_link.faults import (
    Armed,
    BlackHole,
    Cut,
    Delay,
    Direction,
    DropMessage,
    DuplicateMessage,
    Fault,
    Inject,
)
from medagent.testing.faulty_link.link import FaultyLink

__all__ = [
    "FaultyLink",
    "Direction",
    "Armed",
    "Fault",
    "Cut",
    "BlackHole",
    "Delay",
    "Inject",
    "DuplicateMessage",
    "DropMessage",
]
