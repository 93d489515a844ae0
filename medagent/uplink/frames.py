"""The frames of Medplum's agent protocol: one JSON object in each WebSocket message."""

from __future__ import annotations

import json
import re
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

MAX_BESIDES_BODY = 1024 * 1024
"""Bytes of a request without its body; no request needs more."""


class _Fields(msgspec.Struct, rename="camel"):
    """Those of all frames of the server, not yet decoded."""

    type: msgspec.Raw = msgspec.Raw()
    callback: msgspec.Raw = msgspec.Raw()
    status_code: msgspec.Raw = msgspec.Raw()
    content_type: msgspec.Raw = msgspec.Raw()
    body: msgspec.Raw = msgspec.Raw()


_HIGH, _LOW = rb"u[dD][89abAB][0-9a-fA-F]{2}", rb"u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(
    rb"\\(?<!\\\\)"  # the first of the backslashes here; it stands first for the speed of the search
    rb"(?:((?:\\\\)*)" + _HIGH + rb"(?!\\" + _LOW + rb")|((?:\\\\)+)" + _LOW + rb"|(?<!\\" + _HIGH + rb"\\)" + _LOW + rb")"
)
"""An escape in JSON that is no half of a pair, and, as groups, the escaped backslashes before it."""

_encode = msgspec.json.Encoder().encode
_decode_response = msgspec.json.Decoder(Response).decode
_decode_fields = msgspec.json.Decoder(_Fields).decode

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
        return _decode_known(payload)
    except (RecursionError, msgspec.ValidationError):  # too deep, or sound JSON that is no object
        return Unknown()
    except ValueError:
        pass
    try:
        return _decode_known(_sound(payload))
    except (ValueError, RecursionError):
        return Unknown()


def _decode_known(payload: Payload) -> ServerFrame:
    """Only what is needed becomes objects: a list of millions of nothings takes gigabytes. Raises `ValueError`."""
    fields = _decode_fields(payload)
    match _scalar(fields.type):
        case "agent:transmit:response":
            return Response(
                callback=_text(_scalar(fields.callback)),
                status_code=_status_code(_scalar(fields.status_code)),
                content_type=_text(_scalar(fields.content_type)),
                body=_text(_scalar(fields.body)),
            )
        case "agent:connect:response":
            return ConnectResponse()
        case "agent:heartbeat:request":
            return HeartbeatRequest()
        case "agent:heartbeat:response":
            return HeartbeatResponse()
        case "agent:error":
            return AgentError(_text(_scalar(fields.body)))
        case "push":  # what older servers call it
            return _request("agent:transmit:request", payload, fields)
        case str(kind) if kind.endswith(":request"):
            return _request(kind, payload, fields)
        case _:
            return Unknown()


def _scalar(raw: msgspec.Raw) -> object:
    """A field's value; None if it is absent, and an empty list for any list or object."""
    first = bytes(memoryview(raw)[:1])
    if first in (b"", b"[", b"{"):
        return [] if first else None
    value: object = msgspec.json.decode(raw)
    return value


def _request(kind: str, payload: Payload, raw: _Fields) -> ServerRequest | Unknown:
    body = memoryview(raw.body)
    is_text = bytes(body[:1]) == b'"'
    if len(payload) - (len(body) if is_text else 0) > MAX_BESIDES_BODY:
        return Unknown()
    fields = msgspec.json.decode(payload, type=dict[str, Any])  # Any: as `ServerRequest.fields`
    callback = fields.get("callback")
    return ServerRequest(kind, callback if isinstance(callback, str) else None, fields)


def _sound(payload: Payload) -> bytes:
    """As UTF-8, without lone surrogates, which JavaScript may send as escapes: neither a file nor a socket could take them."""
    text = payload if isinstance(payload, str) else payload.decode(errors="replace")
    return _LONE_SURROGATE.sub(rb"\1\2?", text.encode(errors="replace"))


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
