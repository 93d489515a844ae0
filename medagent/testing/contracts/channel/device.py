"""What the author of a channel writes for its contract suite: a small driver of a device."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol


class What(enum.Enum):
    """What a device was told of a message."""

    ACCEPTED = "accepted"
    """A positive acknowledgment that rests on the commit, such as CA in HL7."""
    ANSWERED = "answered"
    """The server's positive answer, such as AA in HL7."""
    REFUSED = "refused"
    """Any negative acknowledgment, of the agent or of the server."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One thing that a device was told."""

    name: str
    """Of the message it is about, as `Device.send` was given it.

    Where the protocol says only a part of it, or nothing, the driver knows which message is due.
    """
    what: What


class Device(Protocol):
    """One connection of a device. The suite never calls `send` twice at a time, nor `receive`."""

    async def send(self, name: str) -> None:
        """Send one sound message with this name, a letter and six digits such as `M000017`, in its body or ID.

        The same name gives the same bytes. Whatever the protocol asks of the device on the way is done here, but for the
        acknowledgment of the message as a whole, which `receive` returns.
        Raises `OSError` or `EOFError` if the channel has gone.
        """

    async def receive(self) -> Reply:
        """The next reply, however long that takes. Raises `OSError` or `EOFError` if the channel has gone."""

    async def close(self) -> None:
        """Hang up; the suite calls it once."""
