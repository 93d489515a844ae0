"""The frames that answer a request of the server, as plain JSON."""

from __future__ import annotations

from typing import Any

# a frame of the agent protocol: its fields depend on its type
Frame = dict[str, Any]
"""A frame of the agent protocol as decoded JSON (docs/protocol.md)."""

PLAIN_TEXT = "text/plain"
"""The content type of a reason."""


def transmit_response(callback: str | None, remote: object, status_code: int, content_type: str, body: str) -> Frame:
    """The end of an `agent:transmit:request`: the device's answer, or why there is none (400, `text/plain`).

    `callback` and `remote` are those of the request; `status_code`, `content_type` and `body` are the answer.
    """
    return {
        "type": "agent:transmit:response",
        **({"remote": remote} if isinstance(remote, str) else {}),
        **with_callback(callback),
        "contentType": content_type,
        "statusCode": status_code,
        "body": body,
    }


def transmit_failed(callback: str | None, remote: object, reason: str) -> Frame:
    """An `agent:transmit:request` with this `callback` and `remote` came to nothing; `reason` says why."""
    return transmit_response(callback, remote, 400, PLAIN_TEXT, reason)


def agent_error(callback: str | None, body: str) -> Frame:
    """Any other request, with this `callback`, came to nothing; `body` says why."""
    return {"type": "agent:error", "body": body, **with_callback(callback)}


def with_callback(callback: str | None) -> Frame:
    """The field `callback` if somebody waits under it."""
    return {} if callback is None else {"callback": callback}
