"""Messages that are committed together or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from medagent.types import InboundMessage


def with_parts(messages: Sequence[InboundMessage]) -> Sequence[InboundMessage]:
    """What is stored of `messages`: one that stands for its parts gives way to them."""
    if not any(message.parts for message in messages):
        return messages
    return [part for message in messages for part in message.parts or (message,)]
