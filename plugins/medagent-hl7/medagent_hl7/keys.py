"""The logical key of a message: one field of it, such as the patient's number, found without building a tree.

Read is the first occurrence of the segment and the first repetition of the field, by the delimiters of the message
(HL7 v2.5.1, chapter 2.5.3), in time linear in the size of the message. Escape sequences stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from medagent.config.model import AgentConfig, ChannelConfig, Value
from medagent.config.problems import Problem, Severity
from medagent.config.settings import Parameter
from medagent_hl7.message import BOM, Header
from medagent_hl7.schemes import SCHEMES

DEFAULT_WORKERS = 32

PARAMETERS = (
    Parameter(
        "logicalChannelKey",
        SCHEMES,
        str,
        None,
        "field, such as `PID-3.1`, whose equal values are sent one at a time, in the order of acceptance, others beside them; "
        "messages without it count as one value. Unset: no such order",
        live=False,
    ),
    Parameter(
        "maxWorkers",
        SCHEMES,
        int,
        DEFAULT_WORKERS,
        "values of `logicalChannelKey` that are unanswered at a time, at most `maxInFlight`",
        minimum=1,
        maximum=500,
        live=False,
    ),
)

WANTED = "a field such as PID-3, PID-3.1 or PID-3.4.2, of any segment, but not MSH-1 or MSH-2"
_SPELLING = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9][0-9]{0,2})(?:\.([1-9][0-9]{0,2})(?:\.([1-9][0-9]{0,2}))?)?")
_FIRST_OF_MSH = 3


@dataclass(frozen=True, slots=True)
class FieldPath:
    """Where a field is, or a component or subcomponent of it."""

    segment: str
    number: int
    component: int = 0
    """From 1; 0 for the whole field."""
    subcomponent: int = 0
    _begins: re.Pattern[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pattern = re.compile(rb"(?:\A|[\r\n])" + self.segment.encode() + rb"(?![A-Za-z0-9])")
        object.__setattr__(self, "_begins", pattern)

    @classmethod
    def parse(cls, text: str) -> FieldPath | None:
        """The path that `text` spells; None if it is none that can be a key."""
        found = _SPELLING.fullmatch(text)
        if found is None:
            return None
        path = cls(found[1], *(int(part or 0) for part in found.groups()[1:]))
        return None if path.segment == "MSH" and path.number < _FIRST_OF_MSH else path

    def value(self, body: bytes, header: Header) -> str:
        """Its value in a message with this header, without blanks around it, each byte a character; "" without any."""
        if header.wide_codec is not None:
            body = body.decode(header.wide_codec, "replace").encode("utf-8", "replace")
        body = body.removeprefix(BOM)
        found = self._begins.search(body)
        if found is None:
            return ""
        ends = (body.find(line_end, found.end()) for line_end in (b"\r", b"\n"))
        end = min((at for at in ends if at >= 0), default=len(body))
        separator = header.field_separator.encode("latin-1")
        at = found.end() - 1
        for _ in range(self.number - (self.segment == "MSH")):
            at = body.find(separator, at + 1, end)
            if at < 0:
                return ""
        stop = body.find(separator, at + 1, end)
        text = body[at + 1 : stop if stop >= 0 else end].decode("latin-1").partition(header.repetition_separator)[0]
        text = _part(text, header.component_separator, self.component)
        return _part(text, header.subcomponent_separator, self.subcomponent).strip(" ")


def _part(text: str, separator: str, position: int) -> str:
    if not position:
        return text
    parts = text.split(separator, position)
    return parts[position - 1] if position <= len(parts) else ""


def key_path(parameters: Mapping[str, Value]) -> FieldPath | None:
    """Read checked parameters. One that is no field, which `find_problems` reports, is a field that no message has."""
    text = parameters.get("logicalChannelKey")
    return None if text is None else FieldPath.parse(str(text)) or FieldPath("Z--", 1)


def workers(parameters: Mapping[str, Value]) -> int:
    """Keys unanswered at a time; 0 for a channel without keys."""
    return int(parameters.get("maxWorkers", DEFAULT_WORKERS)) if "logicalChannelKey" in parameters else 0


def find_problems(config: AgentConfig, channel: ChannelConfig) -> list[Problem]:
    """Find a key that is none, and one that changes nothing."""
    text = channel.parameters.get("logicalChannelKey")
    if text is None:
        return []
    where = f"Agent.channel {channel.name}: Endpoint.address parameter logicalChannelKey"
    if FieldPath.parse(str(text)) is None:
        return [
            Problem(where, f"{str(text)[:60]!r} is no field; wanted is {WANTED}", "one key for all messages, one at a time")
        ]
    if config.max_in_flight == 1:
        note = "without effect, since maxInFlight 1 has only one message of the channel unanswered"
        return [Problem(where, note, severity=Severity.NOTE)]
    return []
