"""The agent protocol on one connection, as playbooks of inputs and what must follow."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.uplink.base import Transmit
from medagent.uplink.session import MAX_SILENCE, Answered, Connected, Dead, Event, Failed, Ignored, Requested, Session, Step

CONNECT_RESPONSE = b'{"type":"agent:connect:response"}'
HEARTBEAT_REQUEST = b'{"type":"agent:heartbeat:request"}'
HEARTBEAT_RESPONSE = b'{"type":"agent:heartbeat:response","version":"5.0"}'
ANSWER = b'{"type":"agent:transmit:response","contentType":"c","statusCode":200,"body":"b","callback":"k"}'
MESSAGE = Transmit("adt", "10.0.0.7:41022", "x-application/hl7-v2+er7", "MSH|^~\\&|", "k")


def error(text: str) -> bytes:
    return json.dumps({"type": "agent:error", "body": text}).encode()


def opened() -> Session:
    session = Session("a-1", "medagent-test")
    session.opened("token", 0.0)
    return session


def connected() -> Session:
    session = opened()
    session.receive([CONNECT_RESPONSE], 0.0)
    return session


def types(frames: list[bytes]) -> list[str]:
    return [json.loads(frame)["type"] for frame in frames]


def dead(step: Step) -> Dead:
    [event] = step.events
    assert isinstance(event, Dead)
    return event


def test_connects_first_and_once() -> None:
    session = Session("a-1", "medagent-test")
    [frame] = session.opened("token", 0.0)
    assert json.loads(frame) == {"type": "agent:connect:request", "accessToken": "token", "agentId": "a-1"}
    assert session.opened("token", 1.0) == []


def test_transmits_only_once_accepted() -> None:
    session = opened()
    assert session.transmit([MESSAGE], 0, "token", 1) == []
    assert session.receive([CONNECT_RESPONSE], 0.1) == Step([], [Connected()])
    assert types(session.transmit([MESSAGE], 0, "token", 1)) == ["agent:transmit:request"]
    session.closed()
    assert session.transmit([MESSAGE], 0, "token", 1) == []


def test_a_second_connect_response_is_no_news() -> None:
    assert connected().receive([CONNECT_RESPONSE], 1.0) == Step([], [])


def test_heartbeats_of_the_server_are_answered_at_once_even_before_connect() -> None:
    for session in (opened(), connected()):
        step = session.receive([HEARTBEAT_REQUEST], 1.0)
        assert [json.loads(frame) for frame in step.frames] == [
            {"type": "agent:heartbeat:response", "version": "medagent-test"}
        ]
        assert step.events == []


def test_a_lost_connect_response_times_out_though_the_server_lives() -> None:
    session = opened()
    session.receive([HEARTBEAT_REQUEST], 9.0)
    assert session.tick(9.9) == Step([], [])
    assert not dead(session.tick(10.0)).renew_token


def test_own_heartbeats_every_ten_seconds() -> None:
    session = connected()
    assert session.tick(9.9).frames == []
    for now in (10.0, 20.0, 30.0, 40.0):
        assert types(session.tick(now).frames) == ["agent:heartbeat:request"]
        assert session.tick(now + 9.9).frames == []
        assert session.receive([HEARTBEAT_RESPONSE], now + 9.9) == Step([], [])


def test_two_unanswered_heartbeats_in_twenty_seconds_end_the_connection() -> None:
    session = connected()
    assert types(session.tick(10.0).frames + session.tick(20.0).frames) == ["agent:heartbeat:request"] * 2
    assert "heartbeat" in dead(session.tick(20.1)).reason
    assert session.receive([ANSWER], 20.2) == Step([], [])
    assert session.tick(99.0) == Step([], [])


def test_twenty_seconds_of_silence_are_waited_for() -> None:
    session = connected()
    session.receive([HEARTBEAT_REQUEST], 9.0)
    session.tick(10.0)
    session.tick(20.0)
    assert session.tick(28.9) == Step([], [])
    dead(session.tick(29.0))


@pytest.mark.parametrize("life", [HEARTBEAT_REQUEST, ANSWER, b"not json"])
def test_any_frame_is_a_sign_of_life(life: bytes) -> None:
    session = connected()
    session.tick(10.0)
    session.tick(20.0)
    session.receive([life], 29.0)
    assert types(session.tick(30.0).frames) == ["agent:heartbeat:request"]


@given(st.floats(0.0, 60.0), st.floats(0.1, 1.0))
def test_a_dead_line_is_found_within_two_heartbeats(last_heard: float, tick: float) -> None:
    session = connected()
    now, dead_at = 0.0, None
    while dead_at is None:
        now += tick
        if now <= last_heard:
            session.receive([HEARTBEAT_RESPONSE], now)
        step = session.tick(now)
        dead_at = now if step.events else None
        assert now < 200
    silence = dead_at - last_heard
    assert MAX_SILENCE - tick <= silence <= MAX_SILENCE + 3 * tick


def seconds_until_dead(session: Session, heard: dict[int, bytes], *, taken: bool = False, most: int = 200) -> int | None:
    """One tick a second; `heard` comes at these seconds of each ten."""
    for now in range(1, most):
        if now % 10 in heard:
            session.receive([heard[now % 10]], now)
        if session.tick(now, taken=taken).events:
            return now
    return None


def test_a_line_that_is_dead_in_our_direction_is_left_though_the_servers_heartbeats_come() -> None:
    session = connected()
    assert seconds_until_dead(session, {9: HEARTBEAT_REQUEST}) == 40
    assert not session.connected


@pytest.mark.parametrize("sign", [HEARTBEAT_RESPONSE, ANSWER, error("Missing body"), b"not json"])
def test_anything_but_its_own_heartbeats_shows_that_the_server_hears_us(sign: bytes) -> None:
    assert seconds_until_dead(connected(), {8: sign, 9: HEARTBEAT_REQUEST}) is None


def test_while_the_line_takes_what_is_sent_no_heartbeat_need_have_arrived() -> None:
    assert seconds_until_dead(connected(), {9: HEARTBEAT_REQUEST}, taken=True) is None


def test_a_server_that_answers_one_heartbeat_in_three_is_kept() -> None:
    session = connected()
    for now in range(1, 200):
        if now % 10 == 9:
            session.receive([HEARTBEAT_RESPONSE if now % 30 == 29 else HEARTBEAT_REQUEST], now)
        assert session.tick(now).events == []


def test_a_part_of_a_long_message_is_a_sign_of_life() -> None:
    session = connected()
    for now in range(1, 100):
        assert session.receive([], now) == Step([], [])
        assert session.tick(now).events == []


def test_a_pause_of_our_own_is_not_the_silence_of_the_server() -> None:
    session = connected()
    for now in (10.0, 20.0):
        session.tick(now)
        session.receive([HEARTBEAT_RESPONSE], now)
    assert types(session.tick(60.0).frames) == ["agent:heartbeat:request"]


def test_all_answers_of_a_read_come_as_one_and_before_its_errors() -> None:
    step = connected().receive([ANSWER, error("Invalid HL7 message"), ANSWER], 1.0)
    answered, failed = step.events
    assert isinstance(answered, Answered)
    assert [response.callback for response in answered.responses] == ["k", "k"]
    assert failed == Failed("Invalid HL7 message")


@pytest.mark.parametrize("text", ["Not connected", "Missing access token", "Invalid access token", "Missing agent ID"])
def test_errors_about_connection_or_token_end_the_connection(text: str) -> None:
    for session in (opened(), connected()):
        assert dead(session.receive([error(text)], 1.0)).renew_token
        assert not session.connected


def test_not_found_concerns_the_agent_whenever_it_comes() -> None:
    for session in (opened(), connected()):
        step = dead(session.receive([error("Not found")], 1.0))
        assert step.renew_token
        assert "Agent/a-1" in step.reason


def test_an_unknown_error_while_connecting_refuses_the_connection_and_is_not_quoted() -> None:
    assert "token" not in dead(opened().receive([error("Unexpected token 'x'")], 1.0)).reason


@pytest.mark.parametrize("text", ["Missing channel", "Missing body", "Channel not found", "Invalid HL7 message", ""])
def test_other_errors_are_for_the_dispatcher(text: str) -> None:
    assert connected().receive([error(text)], 1.0).events == [Failed(text)]


def test_requests_of_the_server_are_passed_on() -> None:
    step = connected().receive([b'{"type":"agent:reloadconfig:request","callback":"Agent/a-1-9"}'], 1.0)
    [event] = step.events
    assert isinstance(event, Requested)
    assert (event.request.type, event.request.callback) == ("agent:reloadconfig:request", "Agent/a-1-9")


def test_what_is_not_understood_is_ignored() -> None:
    session = connected()
    assert session.receive([b"hello", b"[]"], 1.0) == Step([], [Ignored(), Ignored()])
    assert session.connected


def test_nothing_follows_the_end() -> None:
    step = connected().receive([error("Not connected"), HEARTBEAT_REQUEST, error("Missing body")], 1.0)
    assert [type(event) for event in step.events] == [Dead]
    assert step.frames == []


inputs = st.one_of(
    st.just(("open",)),
    st.just(("close",)),
    st.tuples(st.just("tick"), st.floats(0, 15)),
    st.just(("transmit",)),
    st.tuples(
        st.just("receive"),
        st.lists(
            st.sampled_from([CONNECT_RESPONSE, HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE, ANSWER, b"?"])
            | st.sampled_from([error("Not found"), error("Not connected"), error("Missing body")])
            | st.binary(max_size=20),
            max_size=4,
        ),
    ),
)


@given(st.lists(inputs, max_size=40))
def test_whatever_happens_the_rules_of_the_protocol_hold(sequence: list[tuple[object, ...]]) -> None:
    session = Session("a-1", "medagent-test")
    now = 0.0
    sent: list[str] = []
    events: list[Event] = []
    for kind, *arguments in sequence:
        match kind, arguments:
            case "open", _:
                sent += types(session.opened("token", now))
                continue
            case "close", _:
                session.closed()
                continue
            case "transmit", _:
                frames = types(session.transmit([MESSAGE], 0, "token", 1))
                assert bool(frames) == session.connected
                assert not frames or Connected() in events
                sent += frames
                continue
            case "tick", [float(seconds)]:
                now += seconds
                step = session.tick(now)
            case "receive", [list(payloads)]:
                step = session.receive(payloads, now)
            case _:
                raise AssertionError(kind)
        sent += types(step.frames)
        events += step.events
    assert sent.count("agent:connect:request") <= 1
    requests = [kind for kind in sent if kind != "agent:heartbeat:response"]
    assert not requests or requests[0] == "agent:connect:request"
    assert events.count(Connected()) <= 1
    ends = [index for index, event in enumerate(events) if isinstance(event, Dead)]
    assert not ends or ends == [len(events) - 1]
    assert not ends or not session.connected
