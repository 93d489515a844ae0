"""The uplink's seam: the connection to the FHIR server, as the dispatcher sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec

from medagent.fhir.route import DIRECT, Route

TOO_BIG = "the server closed the connection over a message above its size limit (close code 1009)"
"""What `UplinkHandler.failed` is told then (RFC 6455, 7.4.1)."""


class Transmit(msgspec.Struct, frozen=True):
    """A message for the server."""

    channel: str
    """The name of the channel it came by."""
    remote: str
    """The device, such as `10.0.0.7:41022`."""
    content_type: str
    """Of the body (`Channel.content_type`)."""
    body: str
    """What `Channel.forward` made of it, and the transforms of that."""
    callback: str
    """The key of the message, under which the server answers."""


class Response(msgspec.Struct, frozen=True, tag_field="type", tag="agent:transmit:response", rename="camel"):
    """The server's answer to a `Transmit`. It is decoded from the wire as it stands here: nothing happens to it more often."""

    callback: str
    """Of the message that it answers."""
    status_code: Annotated[int, msgspec.Meta(ge=100, le=599)]
    """As of HTTP: below 400 if the server took the message."""
    content_type: str
    """Of the body."""
    body: str
    """The server's acknowledgment, or why there is none."""


class ServerRequest(msgspec.Struct, frozen=True):
    """Something the server asks of the agent, such as a push or a reload."""

    type: str
    """Such as `agent:transmit:request`."""
    callback: str | None
    """To be given back in the answer; None if nobody waits for one."""
    # their shape depends on the type
    fields: dict[str, Any]
    """Of the whole frame, as decoded JSON."""


class UplinkHandler(Protocol):
    """Who is told what the uplink hears. All calls come from the event loop."""

    def connected(self) -> None:
        """The server has accepted this agent; `transmit` works from now on."""

    def disconnected(self) -> None:
        """The connection is gone; what was not answered will not be, and nothing is sent again but by `Uplink.transmit`.
        Called once for each call of `connected`."""

    def writable(self) -> None:
        """`transmit` takes messages again after it took fewer than it was given."""

    def answered(self, responses: Sequence[Response]) -> None:
        """`responses` are all answers of one read."""

    def failed(self, text: str) -> None:
        """The server says in `text` that some frame, it does not say which, could not be served."""


class TokenSource(Protocol):
    """Where access tokens come from."""

    async def get(self) -> str:
        """A token that works. Raises `medagent.errors.AuthenticationFailed` or `NotReady`."""

    @property
    def current(self) -> str | None:
        """The token if there is one that has not expired; asks nobody."""

    @property
    def renew_in(self) -> float:
        """Seconds until it is time to call `get`; 0 when it is now."""

    def invalidate(self, token: str) -> None:
        """The server has refused `token`."""


@dataclass(frozen=True, slots=True)
class UplinkContext:
    """What the core gives an uplink."""

    agent_id: str
    """The id of the Agent that this agent is to the server."""
    tokens: TokenSource | None
    """None without a FHIR server."""
    handler: UplinkHandler
    """Whom to tell what is heard."""
    requested: Callable[[ServerRequest], None]
    """Called with each request of the server."""
    route: Route = DIRECT
    """TLS and proxy on the way to the FHIR server."""


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """How the connection stands, for `medagent status`."""

    state: str
    """`connected`, `connecting`, `waiting` or `off`."""
    detail: str
    """Why it is not connected, or to what it is; or that it is, and has no access token."""
    reconnects: int = 0
    """How often it was connected again, since the start."""


class Uplink(Protocol):
    """The connection to the FHIR server. `medagent.testing.contracts.uplink.UplinkContract` checks it."""

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until cancelled; then no task and no connection is left.

        Neither the server, nor a token that is missing, nor a handler that raises ends it.
        """

    def transmit(self, messages: Sequence[Transmit]) -> int:
        """Write `messages` in one go, in order; returns how many were taken: fewer than given when the connection is
        away or its buffer is full, then `UplinkHandler.writable` or `connected` follows."""

    # a frame of the agent protocol: its fields depend on its type
    def reply(self, frame: dict[str, Any]) -> None:
        """Write `frame`, the answer to a `ServerRequest`; while the connection is away it is kept for a minute."""

    def reconnect(self, reason: str) -> None:
        """Close the connection and connect again with a new token; `reason` is for the log."""

    @property
    def status(self) -> UplinkStatus:
        """How the connection stands."""

    @property
    def overhead_bytes(self) -> int:
        """An upper bound of what a frame holds besides its body, bytes."""
