"""How the queue takes the messages of a channel: used control IDs, and numbers of the channel's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent.listening import duplicate_parameters, duplicate_rules
from medagent.types import AcceptanceRules, KeepsAnswer
from medagent_hl7.schemes import SCHEMES

PARAMETERS = (
    *duplicate_parameters(*SCHEMES, sender="MSH-3 and MSH-4", refusal="with error 205"),
    Parameter(
        "assignSeqNo",
        SCHEMES,
        bool,
        False,
        "number the forwarded messages in MSH-13: 0, 1, 2 and so on for the channel, without gaps, also over restarts",
    ),
)


def acceptance_rules(parameters: Mapping[str, Value], keeps_answer: KeepsAnswer | None = None) -> AcceptanceRules:
    """Read checked parameters; `keeps_answer` is as of `AcceptanceRules`."""
    return replace(duplicate_rules(parameters), numbered=parameters.get("assignSeqNo") is True, keeps_answer=keeps_answer)
