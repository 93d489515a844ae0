"""What a push of the server asks for. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from medagent.errors import Unsendable
from medagent.uplink.base import ServerRequest

ANSWER_SECONDS = 55.0
"""No `$push` waits longer for the device's answer."""
OFF = "Agent.status is currently set to off"
RESTARTED = "the agent was restarted before the device had answered; the device may have the message"


@dataclass(frozen=True, slots=True)
class Push:
    """A message for a device."""

    remote: str
    """Device.url, such as `mllp://10.0.0.7:2575?encoding=ISO-8859-1`."""
    text: str
    content_type: str | None
    """None if the server does not say."""


def read_push(request: ServerRequest) -> Push:
    """Read an `agent:transmit:request` of the server. Raises `Unsendable` for fields that are missing or no texts."""
    values = {}
    for name in ("remote", "body"):
        value = request.fields.get(name)
        if not isinstance(value, str) or not value:
            found = "it is missing" if value is None else "it is empty" if value == "" else "it is no text"
            raise Unsendable(f"the push has no {name}: {found}")
        values[name] = value
    content_type = request.fields.get("contentType")
    if content_type is not None and not isinstance(content_type, str):
        raise Unsendable("the push has a contentType that is no text")
    return Push(values["remote"], values["body"], content_type)


def name_of(callback: str | None, remote: str) -> str:
    """What the queue knows a push by: the same callback, device and bytes are one push, stored and sent once.

    "" without a callback: each is a push of its own.
    """
    return f"{callback} {hashlib.blake2b(remote.encode(), digest_size=8).hexdigest()}" if callback else ""
