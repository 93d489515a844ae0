"""From queued messages to the frames that carry them, past plugins' faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from medagent.channel import Channel
from medagent.guard import StoppedPlugin
from medagent.queue.oversize import ADVICE, TooLong, size_above
from medagent.types import InboundMessage
from medagent.uplink.base import Transmit

Transforms = Sequence[Callable[[str], str | None]]
"""What changes the text of a channel's messages, one after the other. None: the message is not for the server."""


@dataclass(slots=True)
class Outgoing:
    """What becomes of messages of one channel whose turn has come, each kind in their order."""

    sound: list[InboundMessage] = field(default_factory=list)
    """Those that can be sent."""
    frames: list[Transmit] = field(default_factory=list)
    """Of the sound ones."""
    filtered: list[InboundMessage] = field(default_factory=list)
    """Those that a transform keeps from the server."""
    faults: list[tuple[InboundMessage, Exception]] = field(default_factory=list)
    """The others, with what the channel or a transform raised; `TooLong` if the text alone is too long."""
    held: Sequence[InboundMessage] = ()
    """Those that must wait, and all after them, since a plugin is stopped that none may go past."""
    hold_seconds: float = 0.0
    """How long."""


def make_frames(messages: Sequence[InboundMessage], channel: Channel, transforms: Transforms, max_bytes: int) -> Outgoing:
    """Make the frames of messages of one channel; the text of none is longer than `max_bytes`."""
    content_type = channel.content_type
    outgoing = Outgoing()
    for at, message in enumerate(messages):
        try:
            text = _forwarded(message, channel, transforms)
            if text is not None and (size := size_above(text, max_bytes)):
                raise TooLong(f"the message is {size} bytes as JSON text, and maxFrameBytes is {max_bytes}: {ADVICE}")
        except StoppedPlugin as stopped:
            outgoing.held, outgoing.hold_seconds = messages[at:], stopped.seconds
            break
        # a plugin may raise anything on one message; the others go on
        except Exception as error:  # noqa: BLE001  as said above
            outgoing.faults.append((message, error))
        else:
            if text is None:
                outgoing.filtered.append(message)
                continue
            outgoing.sound.append(message)
            outgoing.frames.append(Transmit(message.channel, message.remote, content_type, text, message.callback))
    return outgoing


def _forwarded(message: InboundMessage, channel: Channel, transforms: Transforms) -> str | None:
    """The text for the server; None as soon as a transform says that the message is not for it."""
    text = _text(channel.forward(message))
    for transform in transforms:
        changed = transform(text)
        if changed is None:
            return None
        text = _text(changed)
    return text


def _text(made: object) -> str:
    """What a plugin has made, if it is a text."""
    if type(made) is not str:
        raise TypeError("not a text")
    return made
