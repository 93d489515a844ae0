"""What a channel lets its devices take of it: what all TCP channels have, and a pace and lenient frame ends. Without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from medagent import listening
from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent_hl7.schemes import SCHEMES

LENIENT_END_SECONDS = 0.5
"""With `lenientEnd`, an end block that nothing follows for so long ends its frame."""

PARAMETERS = (
    *listening.limit_parameters(*SCHEMES),
    Parameter(
        "lenientEnd",
        SCHEMES,
        bool,
        False,
        "take 0x1C for the end of a message also when no carriage return follows: before a start block, or before a pause of "
        "500 milliseconds",
    ),
    Parameter(
        "messagesPerMin",
        SCHEMES,
        int,
        None,
        "most messages a minute of one connection, evenly spaced; it is not read meanwhile",
        minimum=1,
    ),
)


@dataclass(frozen=True)
class Limits(listening.Limits):
    """What the address of a channel allows. All times in seconds."""

    lenient_end: bool = False
    spacing: float = 0.0
    """Between two messages of one connection."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> Limits:
        """Read checked parameters; a missing one has its default."""
        per_minute = int(parameters.get("messagesPerMin") or 0)
        return cls(
            **asdict(listening.Limits.from_parameters(parameters)),
            lenient_end=bool(parameters.get("lenientEnd", False)),
            spacing=60 / per_minute if per_minute else 0.0,
        )

    @property
    def shortest(self) -> float:
        return min(super().shortest, LENIENT_END_SECONDS) if self.lenient_end else super().shortest
