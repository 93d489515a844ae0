"""The messages of simulated devices, and the server's answers to them: just enough HL7 to tell them apart."""

from __future__ import annotations

from typing import NamedTuple

Key = tuple[str, str, str]
"""Channel, control ID and mark: what a message is, however often it is sent."""


class Sent(NamedTuple):
    """What a message says of itself."""

    control_id: str
    mark: str
    """Unlike that of every other message."""


class Answered(NamedTuple):
    """What a server's answer says of its message."""

    control_id: str
    mark: str


def make_body(control_id: str, mark: str) -> bytes:
    return f"MSH|^~\\&|SIM|SIM|||20260101||ORU^R01|{control_id}|P|2.5\rNTE|1||{mark}\r".encode("latin-1")


def read_body(body: str) -> Sent:
    header, note, _ = body.split("\r")
    return Sent(header.split("|")[9], note.split("|")[3])


def make_answer(sent: Sent) -> str:
    return f"MSH|^~\\&|SIM|SIM|||20260101||ACK|A|P|2.5\rMSA|AA|{sent.control_id}|{sent.mark}\r"


def read_answer(body: str) -> Answered:
    _, acknowledgment, _ = body.split("\r")
    fields = acknowledgment.split("|")
    return Answered(fields[2], fields[3])
