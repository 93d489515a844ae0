"""What happened in a simulation, line by line, and what must never happen."""

from __future__ import annotations

import hashlib
from collections import deque

from medagent.testing.simulation.loop import VirtualLoop

SHOWN = 60
"""Lines of the log that a violation shows."""


class Violation(Exception):
    """An invariant does not hold. The text has the seed, the step, and the end of the log."""

    def __init__(self, invariant: str, what: str, *, seed: int, step: int, time: float, log: str) -> None:
        super().__init__(f"{invariant}: {what}\nseed {seed}, step {step}, {time:.3f} s\n{log}")
        self.invariant = invariant
        self.what = what
        self.seed = seed
        self.step = step


class Journal:
    """The event log; `violate` ends the simulation."""

    def __init__(self, loop: VirtualLoop, seed: int, *, keep_all: bool = False) -> None:
        self._loop = loop
        self._seed = seed
        self._digest = hashlib.blake2b(digest_size=16)
        self.lines: deque[str] = deque(maxlen=None if keep_all else SHOWN)
        """The last of the log, or all of it."""

    def note(self, *words: object) -> None:
        """Add a line."""
        line = f"{self._loop.time():10.3f} {' '.join(map(str, words))}"
        self._digest.update(line.encode())
        self._digest.update(b"\n")
        self.lines.append(line)

    @property
    def digest(self) -> str:
        """Stands for the whole log, byte for byte."""
        return self._digest.hexdigest()

    def violate(self, invariant: str, what: str) -> None:
        """End the simulation: this must not happen. Returns, since whoever calls might be guarded; the loop raises it."""
        if self._loop.failure is None:
            self.note("VIOLATION", invariant, what)
            log = "\n".join(list(self.lines)[-SHOWN:])
            self._loop.failure = Violation(
                invariant, what, seed=self._seed, step=self._loop.steps, time=self._loop.time(), log=log
            )
