"""What can happen to one direction of a connection, and where.

A place is a number of bytes or of WebSocket messages. It is counted on each connection for itself, from its opening, or from
the arming on those that are open then; the connection that gets there first has the fault, and the others go on without it.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field


class Direction(enum.Enum):
    """Which way the bytes go."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends, for both sides, once `after` bytes have passed; with 0, when the next byte comes, which is lost."""

    after: int
    reset: bool = True
    """By RST; otherwise by FIN, as if each side had closed it."""


@dataclass(frozen=True, slots=True)
class BlackHole:
    """The connection stays open, and after `after` bytes nothing passes in this direction, its end included."""

    after: int


@dataclass(frozen=True, slots=True)
class Delay:
    """What comes after `after` bytes waits `seconds`; then all goes on."""

    after: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Inject:
    """`data` comes out after `after` bytes, though nobody has sent it."""

    after: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DuplicateMessage:
    """The `message`-th WebSocket message, counted from 1, passes twice. Pings, pongs and closes are no messages."""

    message: int


@dataclass(frozen=True, slots=True)
class DropMessage:
    """The `message`-th WebSocket message, counted from 1, does not pass."""

    message: int


ByteFault = Cut | BlackHole | Delay | Inject
MessageFault = DuplicateMessage | DropMessage
Fault = ByteFault | MessageFault


@dataclass(slots=True, eq=False)
class Armed:
    """A fault that waits for its place. It strikes once."""

    direction: Direction
    fault: Fault
    struck: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has come to pass."""
    disarmed: bool = False

    @property
    def live(self) -> bool:
        """Whether it is still to come."""
        return not (self.disarmed or self.struck.is_set())
