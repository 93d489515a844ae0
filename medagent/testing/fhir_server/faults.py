"""Faults a test can switch on while the server runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """What an HTTP request gets instead of its answer."""

    status: int
    """Such as 503 or 429."""
    retry_after: int | None = None
    """Seconds, for the header Retry-After."""


@dataclass(slots=True)
class Faults:
    """All off by default; each can be changed at any time."""

    token_failure: HttpFailure | None = None
    """Of `/oauth2/token`."""
    hang_token: bool = False
    """Never answer a token request; it hangs until the client gives up."""
    fhir_failure: HttpFailure | None = None
    """Of everything below `/fhir/R4/`, and of `/auth/me`."""
    upgrade_failure: HttpFailure | None = None
    """Of the WebSocket's upgrade request."""
    hang_upgrade: bool = False
    """Never answer an upgrade request; it hangs until `abort_sockets` or the server's end."""
    close_on_accept: int | None = None
    """Close each WebSocket at once with this code, such as 1000."""
    swallow_connect_response: bool = False
    """Connect the agent, but do not tell it."""
    mute: bool = False
    """The line is dead both ways: frames from agents are noted and ignored, and none is sent."""
    answer_twice: bool = False
    """Send each transmit response twice."""
    unknown_callback: bool = False
    """Give each transmit response a callback that nobody asked with."""
    answer_delay: float = 0.0
    """Seconds between a bot's end and its answer."""
