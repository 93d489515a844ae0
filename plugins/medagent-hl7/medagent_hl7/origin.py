"""What the channel remembers of a message beyond its header, until it is answered. For most messages: nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medagent.types import InboundMessage
from medagent_hl7.batch_answers import BatchReply
from medagent_hl7.message import Header
from medagent_hl7.sequence import Link


@dataclass(slots=True, eq=False)
class Tracked:
    """`InboundMessage.origin` of a message that is numbered, or part of a batch; of others it is the header itself."""

    header: Header
    link_key: str = ""
    """Of the link whose sequence number it took; "" if it took none."""
    link_before: Link | None = None
    """Where that link stood before."""
    expected: int | None = None
    """What its acknowledgments say in MSA-4, if anything."""
    batch: BatchReply | None = None
    index: int = 0
    """Its place in the batch."""


@dataclass(slots=True, eq=False)
class Note:
    """`InboundMessage.origin` of one without a body, which only has registers kept."""

    on_commit: bytes | None = None
    """The frame for the device once they are on disk."""
    tracked: Tracked | None = None
    """The message that asks for it, if one does: its link moves with it, and its sender hears of a failure."""
    done: Callable[[bool], None] | None = None
    """Called with whether they are on disk."""


def header_of(message: InboundMessage) -> Header:
    """The header a message was accepted with; for one read back from disk, of its body."""
    origin = message.origin
    if isinstance(origin, Header):
        return origin
    return origin.header if isinstance(origin, Tracked) else Header.parse(message.body or b"")
