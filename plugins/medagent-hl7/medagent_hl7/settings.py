"""The parameters that the address of an `mllp` Endpoint may hold, and their typed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import AgentConfig, Value
from medagent.config.problems import Problem
from medagent.config.settings import Parameter
from medagent_hl7 import charset
from medagent_hl7.acknowledgment import AppLevelAck, Mode

SCHEME = "mllp"
_SCHEMES = (SCHEME,)

PARAMETERS = (
    Parameter("encoding", _SCHEMES, str, charset.DEFAULT, "character set of messages whose MSH-18 is empty"),
    Parameter(
        "enhanced",
        _SCHEMES,
        str,
        Mode.ORIGINAL.value,
        "acknowledgment mode: true for enhanced mode, aa for AA once the message is on disk, false for original mode",
        choices=tuple(mode.value for mode in Mode),
    ),
    Parameter(
        "appLevelAck",
        _SCHEMES,
        str,
        AppLevelAck.AL.value,
        "application acknowledgments in enhanced mode: all, none, errors only or success only",
        choices=tuple(level.value for level in AppLevelAck),
    ),
    Parameter("assignSeqNo", _SCHEMES, bool, False, "number the forwarded messages in MSH-13", effective=False),
    Parameter("messagesPerMin", _SCHEMES, int, None, "most messages a minute", minimum=1, effective=False),
    Parameter(
        "duplicateBehavior",
        _SCHEMES,
        str,
        None,
        "what a message gets whose control ID was used before",
        choices=("idempotent", "reject"),
        effective=False,
    ),
    Parameter("logicalChannelKey", _SCHEMES, str, None, "field whose equal values are worked one at a time", effective=False),
    Parameter("maxWorkers", _SCHEMES, int, None, "keys worked at a time", minimum=1, maximum=500, effective=False),
    Parameter(
        "retryMode",
        _SCHEMES,
        str,
        None,
        "the channel's own choice of the retry settings",
        choices=("none", "normal", "guaranteed"),
        effective=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Hl7Settings:
    """What the address of a channel asks for."""

    mode: Mode = Mode.ORIGINAL
    app_level_ack: AppLevelAck = AppLevelAck.AL
    codec: str = charset.DEFAULT
    """The Python codec of `encoding`."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> Hl7Settings:
        """Read checked parameters; an `encoding` that is unknown, which `find_problems` reports, is the default."""
        return cls(
            mode=Mode(parameters.get("enhanced", Mode.ORIGINAL.value)),
            app_level_ack=AppLevelAck(parameters.get("appLevelAck", AppLevelAck.AL.value)),
            codec=charset.codec(str(parameters.get("encoding", charset.DEFAULT))) or charset.DEFAULT,
        )


def find_problems(config: AgentConfig) -> list[Problem]:
    """Find the channels whose `encoding` is no character set."""
    return [
        Problem(
            where=f"Agent.channel {channel.name}: Endpoint.address parameter encoding",
            message=f"{channel.parameters['encoding']} is no character set that MLLP can carry; use a name such as ISO-8859-1",
            used=f"the default, {charset.DEFAULT}",
        )
        for channel in config.channels
        if channel.scheme == SCHEME and charset.codec(str(channel.parameters.get("encoding", charset.DEFAULT))) is None
    ]
