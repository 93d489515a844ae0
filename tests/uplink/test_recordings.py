"""What a real server and its own agent said to each other drives the session."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medagent.testing.shared import transcripts
from medagent.testing.transcripts import TO_AGENT, TO_SERVER, Line, load, names
from medagent.uplink import frames
from medagent.uplink.base import Response, ServerRequest, Transmit
from medagent.uplink.session import CONNECTION_ERRORS, Answered, Connected, Dead, Event, Failed, Session

pytestmark = pytest.mark.skipif(transcripts() is None, reason="the recordings of a real server are not beside this checkout")

RECORDINGS = [
    name.split("-")[0] for name in names() if any(line.channel == "ws" and line.direction for line in load(name.split("-")[0]))
]
"""All in which a frame went over a WebSocket."""
TRANSMIT_FIELDS = ["type", "accessToken", "channel", "remote", "contentType", "body", "callback"]
Frame = dict[str, Any]  # as decoded JSON


def said(lines: list[Line], direction: str) -> list[Frame]:
    """The frames of one direction; texts that are no JSON objects are left out."""
    of_socket = [line for line in lines if line.channel == "ws" and line.direction == direction]
    return [line.frame for line in of_socket if isinstance(line.frame, dict)]


def wire(frame: Frame) -> bytes:
    return json.dumps(frame, separators=(",", ":"), ensure_ascii=False).encode()


def play(lines: list[Line], *, lost: str = "") -> list[tuple[float, Event]]:
    """Feed one agent's sockets to sessions, a tick every second; frames of type `lost` never arrive. Returns (s, event)."""
    session = Session("a-1", "medagent-test")
    events: list[tuple[float, Event]] = []
    now = 0.0
    if said(lines, TO_SERVER)[0]["type"] != "agent:connect:request":  # the recording begins on an open connection
        session.opened("<token>", now)
        session.receive([wire({"type": "agent:connect:response"})], now)
    for line in lines:
        while now + 1.0 < line.t_ms / 1000:
            now += 1.0
            events += [(now, event) for event in session.tick(now).events]
        if line.channel != "ws" or line.raw.get("blackholed"):
            continue
        if line.event == "open":
            session = Session("a-1", "medagent-test")
            session.opened("<token>", now)
        elif line.direction == TO_AGENT and isinstance(line.frame, dict) and line.frame["type"] != lost:
            events += [(now, event) for event in session.receive([wire(line.frame)], now).events]
    return events


def kinds(events: list[tuple[float, Event]]) -> list[type[Event]]:
    return [type(event) for _, event in events]


@pytest.mark.parametrize("recording", RECORDINGS)
def test_every_frame_of_the_server_is_understood(recording: str) -> None:
    for frame in said(load(recording), TO_AGENT):
        [understood] = frames.decode([wire(frame)])
        match frame["type"]:
            case "agent:transmit:response":
                callback = frame.get("callback")
                assert understood == Response(
                    callback=callback if isinstance(callback, str) else "",
                    status_code=frame["statusCode"],
                    content_type=frame.get("contentType", ""),
                    body=frame["body"],
                )
            case "agent:error":
                assert understood == frames.AgentError(frame["body"])
            case "agent:connect:response":
                assert understood == frames.ConnectResponse()
            case "agent:heartbeat:request":
                assert understood == frames.HeartbeatRequest()
            case "agent:heartbeat:response":
                assert understood == frames.HeartbeatResponse()
            case kind:
                assert understood == ServerRequest(kind, frame.get("callback"), frame)


@pytest.mark.parametrize("recording", RECORDINGS)
def test_our_frames_are_those_that_the_server_was_seen_to_take(recording: str) -> None:
    for frame in said(load(recording), TO_SERVER):
        match frame.get("type"):
            case "agent:transmit:request" if list(frame) == TRANSMIT_FIELDS and isinstance(frame["callback"], str):
                message = Transmit(*(frame[field] for field in TRANSMIT_FIELDS[2:]))
                assert frames.encode_transmits([message], 0, frame["accessToken"], 1) == [wire(frame)]
            case "agent:connect:request" if list(frame) == ["type", "accessToken", "agentId"]:
                assert Session(frame["agentId"], "v").opened(frame["accessToken"], 0.0) == [wire(frame)]
            case "agent:heartbeat:request":
                assert wire(frame) == frames.HEARTBEAT_REQUEST
            case "agent:heartbeat:response":
                assert frames.encode_heartbeat_response(frame["version"]) == wire(frame)
            case "agent:error" | "agent:transmit:response" | "agent:logs:response" | "agent:reloadconfig:response":
                # answers to requests of the server: whoever serves them chooses the fields
                assert frames.encode_frame(frame) == wire(frame)


@pytest.mark.parametrize("recording", ["02", "03", "04", "05", "06", "07", "08"])
def test_each_transmit_gets_its_answer(recording: str) -> None:
    lines = load(recording)
    answered = [event for _, event in play(lines) if isinstance(event, Answered)]
    callbacks = [response.callback for event in answered for response in event.responses]
    assert sorted(callbacks) == sorted(
        frame["callback"] for frame in said(lines, TO_SERVER) if frame["type"] == "agent:transmit:request"
    )


@pytest.mark.parametrize("recording", ["30", "31", "49b"])
def test_errors_end_the_connection_or_are_for_the_dispatcher(recording: str) -> None:
    accepted: set[str] = set()
    errors = 0
    for line in load(recording):
        if line.channel != "ws" or line.direction != TO_AGENT or not isinstance(line.frame, dict):
            continue
        if line.frame["type"] == "agent:connect:response":
            accepted.add(line.connection)
        elif line.frame["type"] == "agent:error":
            errors += 1
            session = Session("a-1", "medagent-test")
            session.opened("<token>", 0.0)
            if line.connection in accepted:
                session.receive([wire({"type": "agent:connect:response"})], 0.0)
            [event] = session.receive([wire(line.frame)], 0.0).events
            text = line.frame["body"]
            if line.connection in accepted and text not in CONNECTION_ERRORS:
                assert event == Failed(text)
            else:
                assert isinstance(event, Dead)
                assert event.renew_token == (text in CONNECTION_ERRORS or text == "Not found")
    assert errors == {"30": 16, "31": 8, "49b": 1}[recording]


def test_an_ordinary_start_and_its_heartbeats() -> None:
    assert kinds(play(load("01"))) == [Connected]


def test_a_lost_connect_response_is_not_waited_for_longer_than_its_time() -> None:
    [(now, event)] = play(load("39"), lost="agent:connect:response")
    assert isinstance(event, Dead)
    assert now == pytest.approx(11.0, abs=1.0)


def test_a_line_that_went_dead_is_left_in_about_twenty_seconds() -> None:
    (now, event), *after = play(load("43"))
    assert isinstance(event, Dead)
    assert now < 22.0
    assert after == []


@pytest.mark.parametrize("recording", ["40", "42"])
def test_a_new_connection_goes_on_where_the_old_one_ended(recording: str) -> None:
    assert kinds(play(load(recording))).count(Connected) == 1
    assert kinds(play(load(recording))).count(Answered) == 3


def test_an_error_before_the_connect_response_ends_the_connection() -> None:
    [(_, event)] = play(load("41"))
    assert isinstance(event, Dead)
    assert event.renew_token
