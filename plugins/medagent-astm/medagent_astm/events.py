"""What happens on a line, in the words of `medagent_astm.link`, and the times that are waited for."""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; the defaults are those of the standard, for the computer."""

    reply: float = 15.0
    """A sender waits so long for the reply to ENQ or to a frame."""
    receive: float = 30.0
    """A receiver waits so long for a frame or EOT."""
    busy: float = 10.0
    """After NAK to ENQ before the next ENQ; also the longest time until a receiver that is not ready says NAK to ENQ."""
    contention: float = 20.0
    """After both sides have sent ENQ at once, before the next; 1 for an instrument, which so has priority."""
    interrupt: float = 15.0
    """After the receiver has interrupted a transmission, before the next ENQ."""


class Noted(enum.Enum):
    """What is worth counting."""

    CHECKSUM = "wrong checksum"
    NUMBER = "wrong frame number"
    DAMAGE = "damaged frame"
    REPEATED = "frame repeated"
    SILENCE = "sender silent in a transmission"
    BUSY = "busy when asked for the line"
    CONTENTION = "contention"
    NOT_GRANTED = "line not granted"
    INTERRUPTED = "interrupted by the receiver"


@dataclass(frozen=True, slots=True)
class Begun:
    """The other side has the line."""


@dataclass(frozen=True, slots=True)
class Received:
    """A frame that is good and new: `medagent_astm.link.Link.acknowledge` or `medagent_astm.link.Link.refuse` is due."""

    text: bytes
    last: bool
    """It ends a text."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The other side's transmission is over."""

    orderly: bool
    """By EOT after an acknowledged frame that ended a text; else the sender has given up, or has gone silent."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What `medagent_astm.link.Link.send` was given has been acknowledged, frame by frame."""


@dataclass(frozen=True, slots=True)
class NotSent:
    """What `medagent_astm.link.Link.send` was given has not been acknowledged to its end."""

    reason: str


Event = Begun | Received | Ended | Sent | NotSent | Noted
