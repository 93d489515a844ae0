"""Sending messages one after the other, and what became of each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field

from medagent_hl7.answers import POSITIVE_CODES, Acknowledgment, ConnectFailed, Expect, SendFailed
from medagent_hl7.client import Client, Remote
from medagent_hl7.message import Header

LINGER = 2.0
"""Seconds that an application acknowledgment may come after a CA when the caller does not say what is due."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send."""

    name: str
    """Where it comes from: a file or a sample."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message."""

    name: str
    control_id: str
    message_type: str
    """Such as `ADT^A01`."""
    answers: Sequence[Acknowledgment]
    failure: str = ""
    """Why what was expected did not come; "" if it did."""
    block: bytes = b""
    """With MLLP release 2: what the receiver sent for the message's block, 0x06 or 0x15; nothing if that did not come."""
    nothing_due: bool = False
    """The message asks for no acknowledgment, by NE in MSH-15 and MSH-16, and none was waited for."""

    @property
    def ok(self) -> bool:
        """Answered as expected, and never negatively."""
        return not self.failure and all(answer.code in POSITIVE_CODES for answer in self.answers)

    @property
    def codes(self) -> list[str]:
        """The acknowledgment codes in the order they came."""
        return [answer.code for answer in self.answers]

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "control_id": self.control_id,
            "type": self.message_type,
            "acknowledgments": [{"code": answer.code, "ms": milliseconds(answer.seconds)} for answer in self.answers],
            "block": self.block.hex() or None,
            "nothing_due": self.nothing_due,
            "ok": self.ok,
            "failure": self.failure or None,
        }


def milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 3)


def type_of(header: Header) -> str:
    """Message type and trigger event, such as `ADT^A01`."""
    return "^".join(part for part in (header.message_type, header.trigger_event) if part)


async def send_all(
    remote: Remote, messages: Iterable[Outgoing], *, expect: Expect | None = None, timeout: float = 30.0
) -> AsyncGenerator[Outcome]:
    """Send messages on one connection, each when the one before has its answer, and yield what became of each.

    A message without answer does not stop those after it, and another connection is opened for them if this one is lost or a
    late or second answer on it could be taken for another's. Without `expect` the first answer counts, and an application
    acknowledgment that follows a CA within `LINGER` is waited for, until a message shows that none does.

    A message with NE in MSH-15 and MSH-16 asks for no acknowledgment: without `expect` none is waited for.

    Raises `medagent_hl7.answers.ConnectFailed` if the first connection fails, and `medagent_hl7.message.Hl7Error` for a
    message without usable MSH segment.
    """
    linger = LINGER if expect is None else 0.0
    client: Client | None = await Client.connect(remote, timeout)
    try:
        for message in messages:
            header = Header.parse(message.body)
            answers: Sequence[Acknowledgment] = ()
            failure = ""
            nothing_due = expect is None and Expect.due(header) is Expect.NONE
            wanted = Expect.NONE if nothing_due else expect or Expect.FIRST
            try:
                if client is not None and not client.can_send(header.control_id):
                    await client.close()
                    client = None
                client = client or await Client.connect(remote, timeout)
                answers = await client.send(message.body, wanted, timeout, linger)
            except ConnectFailed as error:
                failure = str(error)
            except SendFailed as error:
                answers, failure = error.answers, str(error)
            block = client.block if client is not None else b""
            outcome = Outcome(message.name, header.control_id, type_of(header), answers, failure, block, nothing_due)
            if outcome.codes == ["CA"]:
                linger = 0.0
            yield outcome
    finally:
        if client is not None:
            await client.close()
