"""The parameters that the address of an `mllp` Endpoint may hold, and their typed form."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import AgentConfig, ChannelConfig, Value
from medagent.config.problems import Problem
from medagent.config.settings import Parameter
from medagent_hl7 import allow, batch, charset, keys, limits, rules, tls, verification
from medagent_hl7.charset import InvalidText
from medagent_hl7.owed import AckCondition, AckMode, Mode
from medagent_hl7.schemes import MLLPS, SCHEMES

PARAMETERS = (
    *limits.PARAMETERS,
    *allow.PARAMETERS,
    *tls.PARAMETERS,
    *rules.PARAMETERS,
    *verification.PARAMETERS,
    *batch.PARAMETERS,
    *keys.PARAMETERS,
    Parameter("encoding", SCHEMES, str, charset.DEFAULT, "character set of messages whose MSH-18 is empty"),
    Parameter(
        "enhanced",
        SCHEMES,
        str,
        Mode.ORIGINAL.value,
        "acknowledgment mode: true for enhanced mode, aa for AA once the message is on disk, false for original mode",
        choices=tuple(mode.value for mode in Mode),
    ),
    Parameter(
        "appLevelAck",
        SCHEMES,
        str,
        AckCondition.AL.value,
        "application acknowledgments in enhanced mode: all, none, errors only or success only",
        choices=tuple(level.value for level in AckCondition),
    ),
    Parameter(
        "ackMode",
        SCHEMES,
        str,
        AckMode.CHANNEL.value,
        "what decides on acknowledgments: channel for `enhanced` and `appLevelAck`, message for MSH-15 and MSH-16 of each one",
        choices=tuple(mode.value for mode in AckMode),
    ),
    Parameter(
        "missingAckType",
        SCHEMES,
        str,
        AckCondition.NE.value,
        "with `ackMode=message`: what stands for MSH-15 or MSH-16 when only the other one is given",
        choices=(AckCondition.AL.value, AckCondition.NE.value),
    ),
    Parameter(
        "ackMessageType",
        SCHEMES,
        str,
        "auto",
        "MSH-9 of acknowledgments made here: auto for ACK with the trigger event as the version asks for, short for ACK alone",
        choices=("auto", "short"),
    ),
    Parameter(
        "missingControlId",
        SCHEMES,
        str,
        "accept",
        "what becomes of a message without MSH-10: accepted like any other, or rejected with error 101",
        choices=("accept", "reject"),
    ),
    Parameter(
        "invalidText",
        SCHEMES,
        str,
        InvalidText.PASS.value,
        "bytes not valid in the message's character set: pass them on as UTF-8 or Windows-1252, replace them by U+FFFD, "
        "or reject the message with error 102",
        choices=tuple(choice.value for choice in InvalidText),
    ),
    Parameter(
        "mllpRelease",
        SCHEMES,
        int,
        1,
        "release of MLLP: with 2 the commit acknowledgment block 0x06 or 0x15 answers each block of a device, before all else",
        minimum=1,
        maximum=2,
        live=False,
    ),
    Parameter(
        "retryMode",
        SCHEMES,
        str,
        None,
        "the channel's own choice of `channelAutoRetry` and `channelGuaranteedDelivery`: false and false, true and false, or "
        "true and true. Unset: as the Agent says",
        choices=("none", "normal", "guaranteed"),
    ),
)


@dataclass(frozen=True, slots=True)
class Hl7Settings:
    """What the address of a channel asks for."""

    mode: Mode = Mode.ORIGINAL
    app_level_ack: AckCondition = AckCondition.AL
    codec: str = charset.DEFAULT
    """The Python codec of `encoding`."""
    ack_mode: AckMode = AckMode.CHANNEL
    missing_ack_type: AckCondition = AckCondition.NE
    short_ack_type: bool = False
    mllp_release: int = 1
    reject_missing_control_id: bool = False
    invalid_text: InvalidText = InvalidText.PASS

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> Hl7Settings:
        """Read checked parameters; an `encoding` that is unknown, which `find_problems` reports, is the default."""
        return cls(
            mode=Mode(parameters.get("enhanced", Mode.ORIGINAL.value)),
            app_level_ack=AckCondition(parameters.get("appLevelAck", AckCondition.AL.value)),
            codec=charset.codec(str(parameters.get("encoding", charset.DEFAULT))) or charset.DEFAULT,
            ack_mode=AckMode(parameters.get("ackMode", AckMode.CHANNEL.value)),
            missing_ack_type=AckCondition(parameters.get("missingAckType", AckCondition.NE.value)),
            mllp_release=int(parameters.get("mllpRelease", 1)),
            short_ack_type=parameters.get("ackMessageType") == "short",
            reject_missing_control_id=parameters.get("missingControlId") == "reject",
            invalid_text=InvalidText(parameters.get("invalidText", InvalidText.PASS.value)),
        )


def needs_restart(before: Mapping[str, Value], after: Mapping[str, Value]) -> bool:
    """Whether a parameter has changed that cannot while the channel listens."""
    fixed = [parameter for parameter in PARAMETERS if not parameter.live]
    return any(before.get(each.name, each.default) != after.get(each.name, each.default) for each in fixed)


def find_problems(config: AgentConfig) -> list[Problem]:
    """Find what parameters of HL7 channels say that cannot be used."""
    problems: list[Problem] = []
    for channel in config.channels:
        if channel.scheme in SCHEMES:
            problems += _encoding_problems(channel) + allow.find_problems(channel) + keys.find_problems(config, channel)
        if channel.scheme == MLLPS:
            problems += tls.find_problems(channel, time.time())
    return problems


def _encoding_problems(channel: ChannelConfig) -> list[Problem]:
    encoding = str(channel.parameters.get("encoding", charset.DEFAULT))
    if charset.codec(encoding) is not None:
        return []
    return [
        Problem(
            where=f"Agent.channel {channel.name}: Endpoint.address parameter encoding",
            message=f"{encoding} is no character set that MLLP can carry; use a name such as ISO-8859-1",
            used=f"the default, {charset.DEFAULT}",
        )
    ]
