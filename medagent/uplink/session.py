"""One connection to the server as a state machine: no socket, no clock of its own.

Sources: Medplum's agent protocol, as its server 5.0.10 speaks it. The server answers heartbeats in every state, but serves
transmits only after it has accepted the connect request.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medagent.uplink import frames
from medagent.uplink.base import Response, ServerRequest, Transmit

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for the answer to the connect request."""
HEARTBEAT_INTERVAL = 10.0
"""Seconds between our heartbeats."""
MAX_UNANSWERED = 2
MAX_SILENCE = 20.0
"""The server is held to be gone after so many heartbeats, and so many seconds, without any frame from it."""
MAX_UNHEEDED = 3
"""So many of our heartbeats in a row, each with the whole interval for its answer, to which nothing came but the server's own
heartbeats: what we send does not reach it, though what it sends reaches us."""

CONNECTION_ERRORS = frozenset({"Not connected", "Missing access token", "Invalid access token", "Missing agent ID"})
"""Texts of `agent:error` that concern the connection or its token, never a message."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has accepted this agent."""


@dataclass(frozen=True, slots=True)
class Answered:
    """All answers of one read; unknown, late and double ones are the receiver's to sort out."""

    responses: list[Response]


@dataclass(frozen=True, slots=True)
class Failed:
    """The server could not serve some frame. The text may quote it."""

    text: str


@dataclass(frozen=True, slots=True)
class Requested:
    """The server asks for something."""

    request: ServerRequest


@dataclass(frozen=True, slots=True)
class Ignored:
    """The server sent something that is not understood."""


@dataclass(frozen=True, slots=True)
class Dead:
    """This connection is of no more use: close it, and connect again."""

    reason: str
    renew_token: bool = False
    """The token may be at fault: get another one first."""


Event = Connected | Answered | Failed | Requested | Ignored | Dead


class Step(NamedTuple):
    """What an input leads to."""

    frames: list[bytes]
    """To be sent, in order."""
    events: list[Event]
    """In order; nothing follows a `Dead`."""


class _State(enum.Enum):
    NEW = enum.auto()
    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    CLOSED = enum.auto()


class Session:
    """The agent protocol on one connection. `now` is always in monotonic seconds."""

    def __init__(self, agent_id: str, version: str) -> None:
        self._agent_id = agent_id
        self._heartbeat_response = frames.encode_heartbeat_response(version)
        self._state = _State.NEW
        self._due = 0.0
        """When to act next: the time-out of the connect request, then the next heartbeat."""
        self._unanswered = 0
        """Our heartbeats since the server was heard last."""
        self._unheeded = 0
        """Our heartbeats since the last sign that what we send arrives."""
        self._heard_at = 0.0

    @property
    def connected(self) -> bool:
        """The server has accepted this agent, and the connection is not known to be gone."""
        return self._state is _State.CONNECTED

    def opened(self, token: str, now: float) -> list[bytes]:
        """The WebSocket is open: returns the connect request, the first time."""
        if self._state is not _State.NEW:
            return []  # a second request on one connection makes the server send everything twice
        self._state = _State.CONNECTING
        self._due = now + CONNECT_TIMEOUT
        return [frames.encode_connect(token, self._agent_id)]

    def transmit(self, messages: Sequence[Transmit], start: int, token: str, max_bytes: int) -> list[bytes]:
        """The frames of messages from index `start` on, until they hold `max_bytes`; none unless `connected`."""
        if self._state is not _State.CONNECTED:
            return []
        return frames.encode_transmits(messages, start, token, max_bytes)

    def receive(self, payloads: Sequence[frames.Payload], now: float) -> Step:
        """These WebSocket messages have arrived, in one read; none if a part of one has."""
        step = Step([], [])
        if self._state is _State.CLOSED:
            return step
        # a part counts: a long message on a slow line may take longer than any heartbeat, and none can overtake it
        self._unanswered = 0
        self._heard_at = now
        decoded = frames.decode(payloads)
        # its own heartbeats come by a timer; whatever else it says, even a part of it, may be what it has instead of an answer
        if not decoded or any(not isinstance(frame, frames.HeartbeatRequest) for frame in decoded):
            self._unheeded = 0
        responses: list[Response] = []
        others: list[frames.ServerFrame] = []
        for frame in decoded:
            if isinstance(frame, Response):
                responses.append(frame)
            else:
                others.append(frame)
        if responses:
            # before the errors of this read, so that these leave as few messages in doubt as can be
            step.events.append(Answered(responses))
        for frame in others:
            self._handle(frame, now, step)
            if step.events and isinstance(step.events[-1], Dead):
                break
        return step

    def tick(self, now: float, *, taken: bool = False) -> Step:
        """Time has passed; to be called every second or so. `taken`: the line has taken some of what waited since the last."""
        step = Step([], [])
        if taken:
            self._unheeded = 0  # a heartbeat waits its turn behind a long message on a slow line
        silent = self._unanswered >= MAX_UNANSWERED and now - self._heard_at >= MAX_SILENCE
        if self._state is _State.CONNECTING and now >= self._due:
            self._die(step, Dead("the server did not answer the connect request"))
        elif self._state is _State.CONNECTED and silent:
            self._die(step, Dead("the server does not answer heartbeats"))
        elif self._state is _State.CONNECTED and now >= self._due and self._unheeded >= MAX_UNHEEDED:
            self._die(step, Dead("what is sent does not reach the server: it sends heartbeats, and answers none"))
        elif self._state is _State.CONNECTED and now >= self._due:
            self._unanswered += 1
            self._unheeded += 1
            self._due = now + HEARTBEAT_INTERVAL
            step.frames.append(frames.HEARTBEAT_REQUEST)
        return step

    def closed(self) -> None:
        """The WebSocket is gone."""
        self._state = _State.CLOSED

    def _handle(self, frame: frames.ServerFrame, now: float, step: Step) -> None:
        match frame:
            case frames.HeartbeatRequest():
                step.frames.append(self._heartbeat_response)
            case frames.ConnectResponse():
                if self._state is _State.CONNECTING:
                    self._state = _State.CONNECTED
                    self._due = now + HEARTBEAT_INTERVAL
                    step.events.append(Connected())
            case frames.AgentError(text):
                self._fail(text, step)
            case ServerRequest():
                step.events.append(Requested(frame))
            case frames.Unknown():
                step.events.append(Ignored())

    def _fail(self, text: str, step: Step) -> None:
        if text in CONNECTION_ERRORS:
            self._die(step, Dead(f"the server says: {text}", renew_token=True))
        elif text == "Not found":
            # in answer to a transmit too: the server looks for the Agent each time
            reason = f"the server says: Not found; Agent/{self._agent_id} does not exist there, or this client may not read it"
            self._die(step, Dead(reason, renew_token=True))
        elif self._state is _State.CONNECTED:
            step.events.append(Failed(text))
        else:
            self._die(step, Dead("the server refuses the connect request"))

    def _die(self, step: Step, dead: Dead) -> None:
        self._state = _State.CLOSED
        step.events.append(dead)
