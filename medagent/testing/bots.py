"""Bots for the embedded FHIR server: what answers the messages that agents transmit.

A bot is a callable. What it returns decides the response: a text is the answer, None or "" is an answer that holds only the
bot's log, a raised exception is a failure (status code 400 with an OperationOutcome), a `Reply` is sent as it is, and
`NO_ANSWER` sends nothing. An awaitable result does not delay other messages; answers leave in the order the bots end.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from medagent.testing.ledger import sha256_of

HL7 = "x-application/hl7-v2+er7"
"""The content type of an HL7 v2 message in the agent protocol."""

_MSA_3 = {"AA": "OK", "CA": "Commit Accept", "AE": "Application Error", "AR": "Application Reject"}
_control_ids = itertools.count(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class BotRequest:
    """One transmitted message."""

    agent_id: str
    channel: str
    body: str
    content_type: str | None = None
    remote: str | None = None
    # any JSON value, as the agent chose it
    callback: object = None
    log: list[str] = field(default_factory=list)
    """The bot's console: lines it may add."""


class BotError(Exception):
    """A bot's failure; the text goes into the OperationOutcome."""


class NoAnswer(enum.Enum):
    """The type of `NO_ANSWER`."""

    NO_ANSWER = enum.auto()


NO_ANSWER = NoAnswer.NO_ANSWER
"""The message is taken and never answered."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response as it is, for status codes that no bot can cause, such as 429 or 500."""

    status_code: int
    body: str = ""
    content_type: str | None = None
    """None: as in the request."""


BotResult = str | Reply | NoAnswer | None
Bot = Callable[[BotRequest], BotResult | Awaitable[BotResult]]


def acknowledge(request: BotRequest) -> BotResult:
    """Answer HL7 with AA, anything else with nothing. The default."""
    return acknowledgment(request.body, "AA") if request.content_type == HL7 else None


def identify(request: BotRequest) -> BotResult:
    """Answer HL7 with AA, and say in MSA-3 by a digest which message that is about, for senders that look for mix-ups."""
    return acknowledgment(request.body, "AA", f"sha256:{sha256_of(request.body.encode())}")


def refuse(code: str) -> Bot:
    """A bot that answers HL7 with `code`: AE or AR."""

    def bot(request: BotRequest) -> BotResult:
        return acknowledgment(request.body, code)

    return bot


def fail(request: BotRequest) -> BotResult:
    """Fail for every message."""
    raise BotError("bot failure on purpose")


def silent(request: BotRequest) -> BotResult:
    """Never answer."""
    return NO_ANSWER


def non_hl7(request: BotRequest) -> BotResult:
    """Answer with a text that is not HL7."""
    return "just a string"


def slow(seconds: float) -> Bot:
    """A bot that acknowledges each message after `seconds`."""

    async def bot(request: BotRequest) -> BotResult:
        await asyncio.sleep(seconds)
        return acknowledge(request)

    return bot


def acknowledgment(message: str, code: str, text: str = "") -> str:
    """An HL7 v2 acknowledgment of `message` (HL7 v2.5 chapter 2.13): MSH and MSA, CR between, none at the end.

    Written on its own, not with the HL7 plugin, so that agent and server cannot agree on a mistake. Lacking fields are
    taken as empty. `text` is MSA-3; "" for what it usually is.
    """
    separator = message[3:4] or "|"
    msh = message.partition("\r")[0].split(separator)
    msh += [""] * (12 - len(msh))
    component = msh[1][:1] or "^"
    message_type = msh[8].split(component)
    acknowledged = ["ACK", *message_type[1:2], *(["ACK"] if len(message_type) > 2 else [])]
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S.%f")[:-3]
    answer = ["MSH", msh[1], msh[4], msh[5], msh[2], msh[3], now, "", component.join(acknowledged), str(next(_control_ids))]
    lines = [[*answer, "P", msh[11]], ["MSA", code, msh[9], text or _MSA_3[code]]]
    return "\r".join(separator.join(fields) for fields in lines)
