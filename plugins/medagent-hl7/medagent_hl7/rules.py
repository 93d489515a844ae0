"""How the queue takes the messages of a channel: used control IDs, and numbers of the channel's own."""

from __future__ import annotations

from collections.abc import Mapping

from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent.types import AcceptanceRules, Duplicates, KeepsAnswer
from medagent_hl7.schemes import SCHEMES

_WEEK = 7 * 86_400

PARAMETERS = (
    Parameter(
        "duplicateBehavior",
        SCHEMES,
        str,
        Duplicates.IDEMPOTENT.value,
        "a message under a control ID that its sender (MSH-3 and MSH-4) has used: idempotent gives the same bytes the stored "
        "answer and accepts other bytes, reject refuses other bytes with error 205, accept takes everything as new",
        choices=tuple(behavior.value for behavior in Duplicates),
    ),
    Parameter(
        "duplicateWindowSecs",
        SCHEMES,
        int,
        _WEEK,
        "seconds after which a control ID counts as new",
        minimum=0,
        maximum=366 * 86_400,
    ),
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
    return AcceptanceRules(
        duplicates=Duplicates(parameters.get("duplicateBehavior", Duplicates.IDEMPOTENT.value)),
        duplicate_window=float(parameters.get("duplicateWindowSecs", _WEEK)),
        numbered=parameters.get("assignSeqNo") is True,
        keeps_answer=keeps_answer,
    )
