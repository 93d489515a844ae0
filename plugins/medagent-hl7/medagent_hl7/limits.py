"""What a channel lets its devices take of it: the parameters, their typed form, and who has waited too long. Without I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import Value
from medagent.config.settings import Parameter
from medagent_hl7.schemes import SCHEMES

LENIENT_END_SECONDS = 0.5
"""With `lenientEnd`, an end block that nothing follows for so long ends its frame."""
_SHORTEST_SWEEP, _LONGEST_SWEEP = 0.01, 1.0

PARAMETERS = (
    Parameter(
        "maxConnections",
        SCHEMES,
        int,
        1000,
        "open connections; more are refused. Above about 900 the agent's limit of open files must be raised",
        minimum=1,
        maximum=100_000,
    ),
    Parameter(
        "maxBufferedBytes",
        SCHEMES,
        int,
        64 * 1024 * 1024,
        "bytes of unfinished frames of all connections together; above it the connection with the longest one is closed",
        minimum=4096,
    ),
    Parameter(
        "frameIdleTimeoutMs",
        SCHEMES,
        int,
        30_000,
        "longest pause inside a frame, milliseconds; then the connection is closed, and the frame is not acknowledged",
        minimum=1,
    ),
    Parameter(
        "idleTimeoutMs",
        SCHEMES,
        int,
        0,
        "longest silence of a connection between frames, milliseconds, longer than any wait for an answer; 0 for no limit",
        minimum=0,
    ),
    Parameter(
        "writeTimeoutMs",
        SCHEMES,
        int,
        60_000,
        "how long a device may read nothing of what waits for it, milliseconds; then its connection is closed",
        minimum=1,
    ),
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


class Overdue(enum.Enum):
    """What has taken too long on a connection; the value says so in the log."""

    FRAME = "pause inside a frame"
    IDLE = "idle connection"
    WRITE = "device does not read its answers"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the address of a channel allows. All times in seconds."""

    max_connections: int = 1000
    max_buffered_bytes: int = 64 * 1024 * 1024
    frame_idle: float = 30.0
    idle: float = 0.0
    """0.0 for no limit."""
    write: float = 60.0
    lenient_end: bool = False
    spacing: float = 0.0
    """Between two messages of one connection."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> Limits:
        """Read checked parameters; a missing one has its default."""
        values = {item.name: parameters.get(item.name, item.default) for item in PARAMETERS}
        per_minute = int(values["messagesPerMin"] or 0)
        return cls(
            max_connections=int(values["maxConnections"] or 0),
            max_buffered_bytes=int(values["maxBufferedBytes"] or 0),
            frame_idle=int(values["frameIdleTimeoutMs"] or 0) / 1000,
            idle=int(values["idleTimeoutMs"] or 0) / 1000,
            write=int(values["writeTimeoutMs"] or 0) / 1000,
            lenient_end=bool(values["lenientEnd"]),
            spacing=60 / per_minute if per_minute else 0.0,
        )

    @property
    def sweep_seconds(self) -> float:
        """How often connections are looked at, so that no time-out is exceeded by more than a quarter, or a second."""
        times = [self.frame_idle, self.write]
        if self.idle:
            times.append(self.idle)
        if self.lenient_end:
            times.append(LENIENT_END_SECONDS)
        return min(_LONGEST_SWEEP, max(_SHORTEST_SWEEP, min(times) / 4))

    def overdue(self, *, inside: bool, silent: float, blocked: float) -> Overdue | None:
        """What is too long: `silent` seconds of reading in vain, inside a frame or not, or `blocked` writing in vain."""
        if blocked > self.write:
            return Overdue.WRITE
        if inside:
            return Overdue.FRAME if silent > self.frame_idle else None
        return Overdue.IDLE if 0 < self.idle < silent else None
