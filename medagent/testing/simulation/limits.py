"""Limits that a small simulation would never reach, made small enough to be reached, by some seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from medagent.queue import dispatcher, intake, lane

SMALL = (
    (intake, "HIGH_WATER_MESSAGES", 6),
    (lane, "READY_MESSAGES", 8),
    (lane, "PAGE_MESSAGES", 4),
    (dispatcher, "PAGE_MESSAGES", 4),
    (dispatcher, "MAX_CHUNK", 3),
)
"""Where a limit is, its name, and what it is made."""


@contextmanager
def small_limits(seed: int) -> Iterator[None]:
    """Half of the seeds run with small limits. What is no longer there is left alone."""
    random = Random(f"limits {seed}")  # noqa: S311  it must be the same each time
    small = random.random() < 0.5
    before = [(module, name, getattr(module, name)) for module, name, _ in SMALL if small and hasattr(module, name)]
    for module, name, value in SMALL:
        if small and hasattr(module, name):
            setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
