"""Frames are written as the server reads them, and whatever comes back is made sense of."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.uplink import frames
from medagent.uplink.base import Response, ServerRequest, Transmit

MESSAGE = Transmit(
    channel="adt",
    remote="10.0.0.7:41022",
    content_type="x-application/hl7-v2+er7",
    body="MSH|^~\\&|WARD|NORTH|||20260301||ADT^A01|1|P|2.5\rPID|1||77||Ørsted^Zoë\r",
    callback="Agent/a-1",
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
server_objects = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            [
                "agent:transmit:response",
                "agent:connect:response",
                "agent:heartbeat:request",
                "agent:heartbeat:response",
                "agent:error",
                "agent:reloadconfig:request",
                "push",
            ]
        )
        | json_values,
        "callback": json_values,
        "statusCode": json_values,
        "contentType": json_values,
        "body": json_values,
    },
)
json_texts = (json_values | server_objects).map(json.dumps)
payloads = st.binary() | st.text() | json_texts | json_texts.map(str.encode)


def decode_one(frame: object) -> frames.ServerFrame:
    return frames.decode([json.dumps(frame).encode()])[0]


def response(**fields: Any) -> dict[str, Any]:  # any JSON value, right or wrong
    whole: dict[str, Any] = {
        "type": "agent:transmit:response",
        "channel": "adt",
        "remote": "10.0.0.7:41022",
        "contentType": "x-application/hl7-v2+er7",
        "statusCode": 200,
        "body": "MSH|^~\\&\rMSA|AA|1",
        "callback": "Agent/a-1",
    }
    return {name: value for name, value in (whole | fields).items() if value is not ...}


def test_a_transmit_has_the_fields_of_the_protocol() -> None:
    [frame] = frames.encode_transmits([MESSAGE], 0, "token", 1)
    assert json.loads(frame) == {
        "type": "agent:transmit:request",
        "accessToken": "token",
        "channel": "adt",
        "remote": "10.0.0.7:41022",
        "contentType": "x-application/hl7-v2+er7",
        "body": MESSAGE.body,
        "callback": "Agent/a-1",
    }


def test_transmits_are_encoded_up_to_a_size_and_one_at_least() -> None:
    messages = [MESSAGE] * 5
    size = len(frames.encode_transmits(messages, 0, "t", 1)[0])
    assert len(frames.encode_transmits(messages, 0, "t", 1)) == 1
    assert len(frames.encode_transmits(messages, 0, "t", 3 * size)) == 3
    assert len(frames.encode_transmits(messages, 3, "t", 100 * size)) == 2
    assert frames.encode_transmits(messages, 5, "t", 1) == []


def test_a_lone_surrogate_does_not_stop_a_message() -> None:
    odd = Transmit(channel="adt", remote="r", content_type="c", body="MSH|\ud800|", callback="k")
    [frame] = frames.encode_transmits([odd], 0, "token", 1)
    assert json.loads(frame)["body"] == "MSH|?|"
    assert json.loads(frames.encode_frame({"type": "agent:error", "body": "\udfff"}))["body"] == "?"


def test_other_frames_have_the_fields_of_the_protocol() -> None:
    assert json.loads(frames.encode_connect("token", "a-1")) == {
        "type": "agent:connect:request",
        "accessToken": "token",
        "agentId": "a-1",
    }
    assert json.loads(frames.HEARTBEAT_REQUEST) == {"type": "agent:heartbeat:request"}
    assert json.loads(frames.encode_heartbeat_response("v1")) == {"type": "agent:heartbeat:response", "version": "v1"}


def test_responses_keep_their_order() -> None:
    wire = [json.dumps(response(callback=f"k{n}")).encode() for n in range(3)]
    assert [frame.callback for frame in frames.decode(wire) if isinstance(frame, Response)] == ["k0", "k1", "k2"]


@pytest.mark.parametrize("as_type", [bytes, bytearray, bytes.decode])
def test_text_and_binary_payloads_are_the_same(as_type: Any) -> None:  # a callable of bytes
    assert frames.decode([as_type(json.dumps(response()).encode())]) == [decode_one(response())]


STATUS_CODES: list[tuple[object, int]] = [
    (200, 200),
    (400, 400),
    (200.0, 200),
    ("404", 404),
    (..., 200),
    (None, 200),
    (True, 500),
    ("ok", 500),
    (-1, 500),
    (0, 500),
    (1e300, 500),
    ([], 500),
    ({}, 500),
    (700, 500),
]


@pytest.mark.parametrize(("sent", "understood"), STATUS_CODES)
def test_status_codes(sent: object, understood: int) -> None:
    frame = decode_one(response(statusCode=sent))
    assert isinstance(frame, Response)
    assert (frame.status_code, frame.callback) == (understood, "Agent/a-1")


@pytest.mark.parametrize("callback", [..., None, 7, 1.5, True, [], {"a": 1}])
def test_a_response_with_a_callback_that_is_no_text_names_no_message(callback: object) -> None:
    frame = decode_one(response(callback=callback))
    assert isinstance(frame, Response)
    assert frame.callback == ""


def test_absent_content_type_and_body() -> None:
    frame = decode_one(response(contentType=..., body=...))
    assert isinstance(frame, Response)
    assert (frame.content_type, frame.body) == ("", "")


def test_a_body_that_is_not_sound_unicode_is_still_an_answer() -> None:
    escaped = json.dumps(response(body="A\ud800B")).encode()
    broken = json.dumps(response(body="A*B")).encode().replace(b"*", b"\xff")
    bodies = [frame.body for frame in frames.decode([escaped, broken]) if isinstance(frame, Response)]
    assert bodies == ["A?B", "A\ufffdB"]


@pytest.mark.parametrize(
    ("escaped", "body"),
    [
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ud83d\ude00\ud800", "\U0001f600?"),
        (r"\ud800\uD83D\uDE00\ude00", "?\U0001f600?"),
        (r"\\ud800", r"\ud800"),
        (r"\\\ud800\\", "\\?\\"),
        (r"\udc00\ud800", "??"),
        (r"\ud83d\\\ude00", "?\\?"),
    ],
)
def test_half_a_pair_of_escapes_becomes_a_question_mark_and_nothing_else_does(escaped: str, body: str) -> None:
    [frame] = frames.decode([b'{"type":"agent:error","body":"%s","more":"\\udfff"}' % escaped.encode()])
    assert frame == frames.AgentError(body)


LENGTH = 1024 * 1024


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"agent:bogus","more":[%s{}]}' % (b"{}," * LENGTH),
        b'{"type":"agent:bogus","odd":"\\ud800","more":[%s{}]}' % (b"{}," * LENGTH),
        b'{"type":[%s{}]}' % (b"{}," * LENGTH),
        b'{"type":"agent:transmit:request","body":"MSH|","more":[%s{}]}' % (b"{}," * LENGTH),
        b'{"type":"agent:transmit:request","body":[%s{}]}' % (b"{}," * LENGTH),
        b"[%s{}]" % (b"{}," * LENGTH),
    ],
)
def test_a_long_list_that_nobody_needs_becomes_no_objects(payload: bytes) -> None:
    tracemalloc.start()
    try:
        assert frames.decode([payload]) == [frames.Unknown()]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * len(payload)


def test_a_request_with_a_long_body_is_taken() -> None:
    push = {"type": "agent:transmit:request", "body": "x" * 2 * frames.MAX_BESIDES_BODY, "callback": "Agent/a-9"}
    assert decode_one(push) == ServerRequest("agent:transmit:request", "Agent/a-9", push)


def test_requests_of_the_server() -> None:
    push = {"type": "agent:transmit:request", "remote": "mllp://10.0.0.9:2575", "body": "MSH|", "callback": "Agent/a-9"}
    assert decode_one(push) == ServerRequest("agent:transmit:request", "Agent/a-9", push)
    assert decode_one({"type": "agent:new:request", "callback": 7}) == ServerRequest(
        "agent:new:request", None, {"type": "agent:new:request", "callback": 7}
    )
    legacy = decode_one(push | {"type": "push"})
    assert isinstance(legacy, ServerRequest)
    assert legacy.type == "agent:transmit:request"


def test_control_frames() -> None:
    assert decode_one({"type": "agent:connect:response"}) == frames.ConnectResponse()
    assert decode_one({"type": "agent:heartbeat:request"}) == frames.HeartbeatRequest()
    assert decode_one({"type": "agent:heartbeat:response", "version": "5.0"}) == frames.HeartbeatResponse()
    assert decode_one({"type": "agent:error", "body": "Channel not found"}) == frames.AgentError("Channel not found")
    assert decode_one({"type": "agent:error"}) == frames.AgentError("")


NOT_FRAMES = [
    b"",
    b"hello",
    b"null",
    b"7",
    b"[]",
    b'[{"type":"agent:connect:response"}]',
    b"{}",
    b'{"type":7}',
    b'{"type":"agent:bogus"}',
    b"\xff\xfe",
    b"[" * 100_000,
    b"1" * 5000,
]


@pytest.mark.parametrize("payload", NOT_FRAMES)
def test_anything_else_is_unknown(payload: bytes) -> None:
    assert frames.decode([payload]) == [frames.Unknown()]


@given(st.lists(payloads, max_size=5))
def test_decoding_never_raises_and_loses_nothing(sent: list[frames.Payload]) -> None:
    decoded = frames.decode(sent)
    assert len(decoded) == len(sent)
    for frame in decoded:
        if isinstance(frame, Response):
            assert 100 <= frame.status_code <= 599
            frame.body.encode()


@given(st.builds(Transmit, st.text(), st.text(), st.text(), st.text(), st.text()), st.text())
def test_a_transmit_survives_the_wire(message: Transmit, token: str) -> None:
    [frame] = frames.encode_transmits([message], 0, token, 1)
    sent = json.loads(frame)
    assert (sent["accessToken"], sent["body"], sent["callback"]) == (token, message.body, message.callback)
