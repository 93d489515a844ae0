"""What a channel makes of a used control ID: the parameters, and the rules that they give. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping

from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent.types import DEFAULT_RULES, AcceptanceRules, Duplicates

_BEHAVIOR, _WINDOW = "duplicateBehavior", "duplicateWindowSecs"


def duplicate_parameters(
    *schemes: str,
    window: int = int(DEFAULT_RULES.duplicate_window),
    control_id: str = "a control ID",
    sender: str = "its IP address",
    refusal: str = "",
) -> tuple[Parameter, ...]:
    """The address parameters of these schemes that `duplicate_rules` reads, for `Registry.add_parameter`.

    `window`: the default of `duplicateWindowSecs`, in seconds. It must be shorter than the time in which a sender comes to use
    a control ID again for another message. The rest is for the help: what `control_id` is in the protocol, what tells one
    `sender` from another, and how a `refusal` is told, such as `with error 205`.
    """
    refused = f"reject refuses other bytes {refusal}".rstrip()
    return (
        Parameter(
            _BEHAVIOR,
            schemes,
            str,
            Duplicates.IDEMPOTENT.value,
            f"a message under {control_id} that its sender ({sender}) has used: idempotent gives the same bytes the stored "
            f"answer and accepts other bytes, {refused}, accept takes everything as new",
            choices=tuple(behavior.value for behavior in Duplicates),
        ),
        Parameter(
            _WINDOW,
            schemes,
            int,
            window,
            "seconds after which a control ID counts as new",
            minimum=0,
            maximum=366 * 86_400,
        ),
    )


def duplicate_rules(parameters: Mapping[str, Value]) -> AcceptanceRules:
    """Read checked `parameters`; a missing one has the default of `AcceptanceRules`."""
    return AcceptanceRules(
        duplicates=Duplicates(parameters.get(_BEHAVIOR, DEFAULT_RULES.duplicates.value)),
        duplicate_window=float(parameters.get(_WINDOW, DEFAULT_RULES.duplicate_window)),
        changed_by=_BEHAVIOR if _BEHAVIOR in parameters else "",
    )
