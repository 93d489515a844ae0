"""What befalls a connection: seeded, and with places that hit its opening as well as its traffic."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from medagent.testing.faulty_link import (
    BlackHole,
    Cut,
    Delay,
    Direction,
    DropMessage,
    DuplicateMessage,
    Fault,
    Inject,
)

OPENING_BYTES = 600
"""About what the upgrade and the connect request take."""


@dataclass(frozen=True)
class Fate:
    """How a connection ends."""

    kind: Literal["reset", "end", "black_hole", "inject", "refuse"]
    direction: Direction
    fault: Fault
    refusal_seconds: float = 0.0
    """How long no new connection is taken after it."""
    listening: bool = False
    """Whether those are accepted and closed, instead of nobody listening."""


class Chance:
    """All the choices of a run."""

    def __init__(self, seed: int, reach: int) -> None:
        """Places lie up to `reach` bytes into the traffic, near ones more often."""
        self._reach = reach
        self._rng = random.Random(seed)  # noqa: S311  no secret

    def fate(self) -> Fate:
        """The next end of a connection."""
        kind = self._rng.choices(("reset", "end", "black_hole", "inject", "refuse"), (45, 30, 10, 10, 5))[0]
        direction, after = self._rng.choice(list(Direction)), self._place()
        match kind:
            case "end":
                return Fate("end", direction, Cut(after, reset=False))
            case "black_hole":
                return Fate("black_hole", direction, BlackHole(after))
            case "inject":
                # TCP and TLS see to it that an agent's bytes come as they were; what a proxy may answer is another thing
                data = self._rng.randbytes(self._rng.randrange(8, 64))
                return Fate("inject", Direction.TO_CLIENT, Inject(after, data))
            case "refuse":
                seconds, listening = self._rng.uniform(0.01, 0.2), self._rng.random() < 0.5
                return Fate("refuse", direction, Cut(after), seconds, listening)
        return Fate("reset", direction, Cut(after))

    def disturbance(self) -> tuple[Direction, Fault] | None:
        """Something that a connection outlives, in some rounds. The server's messages alone are dropped: no link that keeps an
        order can lose one of the agent's and pass the next."""
        if self._rng.random() > 0.3:
            return None
        direction, message = self._rng.choice(list(Direction)), int(30 ** self._rng.random())
        match self._rng.randrange(3):
            case 0:
                return direction, Delay(self._place() // 4, self._rng.uniform(0.01, 0.2))
            case 1:
                return direction, DuplicateMessage(message)
        return Direction.TO_CLIENT, DropMessage(message)

    def happens(self, probability: float) -> bool:
        return self._rng.random() < probability

    def one_of(self, count: int) -> int:
        """An index."""
        return self._rng.randrange(count)

    def _place(self) -> int:
        """Bytes."""
        if self._rng.random() < 0.1:
            return self._rng.randrange(OPENING_BYTES)
        return OPENING_BYTES + int((self._reach - OPENING_BYTES) * self._rng.random() ** 2)
