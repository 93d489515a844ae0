"""What the channel remembers of a message beyond its header, until it is answered. For most messages: nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medagent.types import InboundMessage
from medagent_hl7.batch_answers import BatchReply
from medagent_hl7.message import Header
from medagent_hl7.sequence import Verdict


@dataclass(slots=True, eq=False)
class Tracked:
    """`InboundMessage.origin` of a message that is numbered, or part of a batch; of others it is the header itself."""

    header: Header
    link_key: str = ""
    """Of the link of its sequence number; "" if it is not numbered."""
    number: int | None = None
    """Its sequence number, if it is one."""
    verdict: Verdict | None = None
    """What the number was found to be when the message was to be stored."""
    expected: int | None = None
    """What its acknowledgments say in MSA-4, if anything."""
    batch: BatchReply | None = None
    index: int = 0
    """Its place in the batch."""


@dataclass(slots=True, eq=False)
class Note:
    """`InboundMessage.origin` of one without a body, which only has registers kept."""

    tracked: Tracked | None = None
    """The message that asks for it, if one does: its sender is answered."""
    done: Callable[[int | None], None] | None = None
    """Called with the number of links that an operator has released; None if that could not be kept."""
    released: tuple[str, ...] = ()
    """Their keys, once it is on disk."""


def tracked_of(message: InboundMessage) -> Tracked | None:
    """What is remembered of a numbered message, or of one in a batch."""
    origin = message.origin.tracked if isinstance(message.origin, Note) else message.origin
    return origin if isinstance(origin, Tracked) else None


def header_of(message: InboundMessage) -> Header:
    """The header a message was accepted with; for one read back from disk, of its body."""
    origin = message.origin
    if isinstance(origin, Header):
        return origin
    return origin.header if isinstance(origin, Tracked) else Header.parse(message.body or b"")
