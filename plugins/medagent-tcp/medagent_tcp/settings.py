"""The parameters that the address of a `tcp` Endpoint may hold, and their typed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import AgentConfig, Value
from medagent.config.problems import Problem, Severity
from medagent.config.settings import Parameter
from medagent.listening import limit_parameters

SCHEME = "tcp"
MOST_ACK_BYTES = 64

PARAMETERS = (
    *limit_parameters(SCHEME),
    Parameter(
        "startChar",
        (SCHEME,),
        str,
        None,
        "required: the character that begins a message, such as %02; the first one counts, from U+0000 to U+00FF as one byte",
        live=False,
        blank=True,
    ),
    Parameter(
        "endChar",
        (SCHEME,),
        str,
        None,
        "required: the character that ends a message, such as %03; not that of `startChar`",
        live=False,
        blank=True,
    ),
    Parameter(
        "maxMessageLength",
        (SCHEME,),
        int,
        None,
        "most bytes between start and end character. Unset: what the server takes, half of `maxFrameBytes`",
        minimum=1,
    ),
    Parameter(
        "ackBytes",
        (SCHEME,),
        str,
        None,
        "hexadecimal, such as 06: sent to the device for each message that is on disk; together with `nakBytes`",
    ),
    Parameter(
        "nakBytes",
        (SCHEME,),
        str,
        None,
        "hexadecimal, such as 15: sent to the device for each message that is not accepted; together with `ackBytes`",
    ),
)


@dataclass(frozen=True, slots=True)
class ByteStreamSettings:
    """What the address of a channel asks for."""

    start: int
    """A byte."""
    end: int
    """Another byte."""
    max_message_length: int | None = None
    """Start and end byte not counted."""
    ack: bytes = b""
    nak: bytes = b""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> ByteStreamSettings:
        """Read the parameters. Raises `Unusable`."""
        length = parameters.get("maxMessageLength")
        settings = cls(
            start=_character(parameters, "startChar"),
            end=_character(parameters, "endChar"),
            max_message_length=None if length is None else int(length),
            ack=_bytes(parameters, "ackBytes"),
            nak=_bytes(parameters, "nakBytes"),
        )
        if settings.start == settings.end:
            raise Unusable("endChar", "the same as startChar: nobody could tell messages from what is between them")
        if bool(settings.ack) != bool(settings.nak):
            lacking = "nakBytes" if settings.ack else "ackBytes"
            raise Unusable(lacking, "ackBytes and nakBytes go together: each message gets one or the other, in order")
        if settings.ack and settings.ack == settings.nak:
            raise Unusable("nakBytes", "the same as ackBytes; the device could not tell them apart")
        return settings


class Unusable(ValueError):
    """A parameter cannot be used."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"{parameter}: {reason}")
        self.parameter = parameter
        self.reason = reason


def find_problems(config: AgentConfig) -> list[Problem]:
    """Find what parameters of byte stream channels say that cannot be used, or not all of it."""
    problems: list[Problem] = []
    for channel in config.channels:
        if channel.scheme != SCHEME:
            continue
        where = f"Agent.channel {channel.name}: Endpoint.address parameter"
        try:
            ByteStreamSettings.from_parameters(channel.parameters)
        except Unusable as error:
            used = "nothing: the channel does not listen until that is mended"
            problems.append(Problem(f"{where} {error.parameter}", error.reason, used, channel=channel.name))
        for name in ("startChar", "endChar"):
            if len(str(channel.parameters.get(name, ""))) > 1:
                text = "more than one character is given"
                problems.append(Problem(f"{where} {name}", text, "the first", Severity.NOTE))
    return problems


def _character(parameters: Mapping[str, Value], name: str) -> int:
    """The byte that a parameter names."""
    text = str(parameters.get(name, ""))
    if not text:
        raise Unusable(name, "required: a character, such as %02; control characters, & and + are written as % and two digits")
    code = ord(text[0])
    if text[0] == "\ufffd":
        raise Unusable(name, "no character: bytes from 80 on are written as UTF-8, such as %C3%BF for FF")
    if code > 0xFF:
        raise Unusable(name, "a character up to U+00FF is expected: messages are framed by single bytes")
    return code


def _bytes(parameters: Mapping[str, Value], name: str) -> bytes:
    text = str(parameters.get(name, ""))
    try:
        found = bytes.fromhex(text)
    except ValueError:
        raise Unusable(name, "hexadecimal bytes are expected, such as 06") from None
    if len(found) > MOST_ACK_BYTES:
        raise Unusable(name, f"at most {MOST_ACK_BYTES} bytes")
    return found
