"""The frames of Medplum's agent protocol: one JSON object in each WebSocket message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from medagent.uplink.base import Response, ServerRequest, Transmit

Payload = bytes | bytearray | str
"""One WebSocket message; text is as good as its UTF-8 bytes, and a binary message as a text one."""


class _Frame(msgspec.Struct, tag_field="type", rename="camel"):
    pass


class _ConnectRequest(_Frame, tag="agent:connect:request"):
    access_token: str
    agent_id: str


class _HeartbeatRequest(_Frame, tag="agent:heartbeat:request"):
    pass


class _HeartbeatResponse(_Frame, tag="agent:heartbeat:response"):
    version: str


class _TransmitRequest(_Frame, tag="agent:transmit:request"):
    access_token: str
    channel: str
    remote: str
    content_type: str
    body: str
    callback: str


class ConnectResponse(msgspec.Struct, frozen=True):
    """The server has accepted this agent."""


class HeartbeatRequest(msgspec.Struct, frozen=True):
    """The server asks whether this agent is alive."""


class HeartbeatResponse(msgspec.Struct, frozen=True):
    """The server is alive."""


class AgentError(msgspec.Struct, frozen=True):
    """The server could not serve a frame, it does not say which. The text may quote the frame."""

    text: str


class Unknown(msgspec.Struct, frozen=True):
    """Not a frame that an agent understands."""


ServerFrame = Response | ServerRequest | ConnectResponse | HeartbeatRequest | HeartbeatResponse | AgentError | Unknown

_encode = msgspec.json.Encoder().encode
_decode_response = msgspec.json.Decoder(Response).decode

HEARTBEAT_REQUEST = _encode(_HeartbeatRequest())


def encode_connect(token: str, agent_id: str) -> bytes:
    """The first frame of a connection."""
    return _encode(_ConnectRequest(token, agent_id))


def encode_heartbeat_response(version: str) -> bytes:
    """The answer to the server's heartbeat; `version` is what the server's `$status` shows."""
    return _encode(_HeartbeatResponse(version))


def encode_transmits(messages: Sequence[Transmit], start: int, token: str, max_bytes: int) -> list[bytes]:
    """The frames of `messages` from index `start` on, until they hold `max_bytes` or more; at least one if there is any."""
    frames: list[bytes] = []
    size = 0
    for index in range(start, len(messages)):
        frame = _encode_transmit(messages[index], token)
        frames.append(frame)
        size += len(frame)
        if size >= max_bytes:
            break
    return frames


def _encode_transmit(message: Transmit, token: str) -> bytes:
    request = _TransmitRequest(token, message.channel, message.remote, message.content_type, message.body, message.callback)
    try:
        return _encode(request)
    except UnicodeEncodeError:
        # a lone surrogate has no UTF-8 form; one odd character must not hold up the whole queue
        return json.dumps(msgspec.to_builtins(request), ensure_ascii=False).encode(errors="replace")


# a frame of the agent protocol: its fields depend on its type
def encode_frame(frame: dict[str, Any]) -> bytes:
    """Any other frame, such as the answer to a `ServerRequest`. Raises `TypeError` for what JSON cannot hold."""
    try:
        return _encode(frame)
    except UnicodeEncodeError:
        return json.dumps(frame, ensure_ascii=False).encode(errors="replace")


def decode(payloads: Sequence[Payload]) -> list[ServerFrame]:
    """One frame for each payload, in order. Never raises for what a server sends."""
    frames: list[ServerFrame] = []
    for payload in payloads:
        try:
            frames.append(_decode_response(payload))
        except (ValueError, RecursionError):
            frames.append(_decode_tolerantly(payload))
    return frames


def _decode_tolerantly(payload: Payload) -> ServerFrame:
    try:
        fields = _load(payload)
    except (ValueError, RecursionError):
        return Unknown()
    if not isinstance(fields, dict):
        return Unknown()
    match fields.get("type"):
        case "agent:transmit:response":
            return Response(
                callback=_text(fields.get("callback")),
                status_code=_status_code(fields.get("statusCode")),
                content_type=_text(fields.get("contentType")),
                body=_text(fields.get("body")),
            )
        case "agent:connect:response":
            return ConnectResponse()
        case "agent:heartbeat:request":
            return HeartbeatRequest()
        case "agent:heartbeat:response":
            return HeartbeatResponse()
        case "agent:error":
            return AgentError(_text(fields.get("body")))
        case "push":  # what older servers call it
            return _request("agent:transmit:request", fields)
        case str(kind) if kind.endswith(":request"):
            return _request(kind, fields)
        case _:
            return Unknown()


def _load(payload: Payload) -> object:
    try:
        loaded: object = msgspec.json.decode(payload)
    except ValueError:
        text = payload if isinstance(payload, str) else payload.decode(errors="replace")
        # a lone surrogate, which JavaScript may send as an escape, becomes "?": neither a file nor a socket could take it
        loaded = json.loads(json.dumps(json.loads(text), ensure_ascii=False).encode(errors="replace"))
    return loaded


def _request(kind: str, fields: dict[str, Any]) -> ServerRequest:  # Any: as `ServerRequest.fields`
    callback = fields.get("callback")
    return ServerRequest(kind, callback if isinstance(callback, str) else None, fields)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _status_code(value: object) -> int:
    """An absent code means success, as for Medplum's own agent; one that means nothing is a server's fault: try again."""
    if value is None:
        return 200
    try:
        code = int(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0
    except (ValueError, OverflowError):
        code = 0
    return code if 100 <= code <= 599 else 500
