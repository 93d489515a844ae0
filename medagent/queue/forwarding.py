"""From queued messages to the frames that carry them, past plugins' faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medagent.channel import Channel
from medagent.errors import PLUGIN_FAULTS
from medagent.guard import StoppedPlugin
from medagent.queue.oversize import ADVICE, TooLong, size_above
from medagent.types import InboundMessage
from medagent.uplink.base import Transmit

Transforms = Sequence[Callable[[str], str]]
"""What changes the text of a channel's messages, one after the other."""


def make_frames(
    messages: Sequence[InboundMessage], channel: Channel, transforms: Transforms, max_bytes: int
) -> tuple[list[InboundMessage], list[Transmit], list[tuple[InboundMessage, BaseException]], float]:
    """The messages that can be sent with their frames, and the others with what the channel or a transform raised.

    A message whose text alone is above `max_bytes` has `TooLong`. The last value is 0 unless a plugin is stopped: then it is
    the seconds that the messages which are in none of the lists must wait, since none may go past it.
    """
    content_type = channel.content_type
    sound: list[InboundMessage] = []
    frames: list[Transmit] = []
    faults: list[tuple[InboundMessage, BaseException]] = []
    for message in messages:
        try:
            text = channel.forward(message)
            for transform in transforms:
                text = transform(text)
            if type(text) is not str:
                raise TypeError("not a text")
            if size := size_above(text, max_bytes):
                raise TooLong(f"the message is {size} bytes as JSON text, and maxFrameBytes is {max_bytes}: {ADVICE}")
        except StoppedPlugin as stopped:
            return sound, frames, faults, stopped.seconds
        # a plugin may raise anything on one message; the others go on
        except PLUGIN_FAULTS as error:
            faults.append((message, error))
        else:
            sound.append(message)
            frames.append(Transmit(message.channel, message.remote, content_type, text, message.callback))
    return sound, frames, faults, 0.0
