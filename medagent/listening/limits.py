"""What a TCP channel lets its devices take of it: the parameters, and who has waited too long. Without I/O."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from medagent.config.model import Value
from medagent.config.settings import Parameter

_SHORTEST_SWEEP, _LONGEST_SWEEP = 0.01, 1.0


def limit_parameters(*schemes: str) -> tuple[Parameter, ...]:
    """The address parameters of these schemes that `Limits` reads, for `Registry.add_parameter`."""
    return (
        Parameter(
            "maxConnections",
            schemes,
            int,
            1000,
            "open connections; more are refused. Above about 900 the agent's limit of open files must be raised",
            minimum=1,
            maximum=100_000,
        ),
        Parameter(
            "maxBufferedBytes",
            schemes,
            int,
            64 * 1024 * 1024,
            "bytes of unfinished frames of all connections together; above it the connection with the longest one is closed",
            minimum=4096,
        ),
        Parameter(
            "frameIdleTimeoutMs",
            schemes,
            int,
            30_000,
            "longest pause inside a frame, milliseconds; then the connection is closed, and the frame is not acknowledged",
            minimum=1,
        ),
        Parameter(
            "idleTimeoutMs",
            schemes,
            int,
            0,
            "longest silence of a connection between frames, milliseconds, longer than any wait for an answer; 0 for no limit",
            minimum=0,
        ),
        Parameter(
            "writeTimeoutMs",
            schemes,
            int,
            60_000,
            "how long a device may read nothing of what waits for it, milliseconds; then its connection is closed",
            minimum=1,
        ),
    )


class Overdue(enum.Enum):
    """What has taken too long on a connection; the value says so in the log."""

    FRAME = "pause inside a frame"
    """`frameIdleTimeoutMs`."""
    IDLE = "idle connection"
    """`idleTimeoutMs`."""
    WRITE = "device does not read its answers"
    """`writeTimeoutMs`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the address of a channel allows. All times in seconds."""

    max_connections: int = 1000
    """Parameter `maxConnections`."""
    max_buffered_bytes: int = 64 * 1024 * 1024
    """Parameter `maxBufferedBytes`."""
    frame_idle: float = 30.0
    """Parameter `frameIdleTimeoutMs`, in seconds."""
    idle: float = 0.0
    """Parameter `idleTimeoutMs`, in seconds; 0.0 for no limit."""
    write: float = 60.0
    """Parameter `writeTimeoutMs`, in seconds."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Value]) -> Limits:
        """Read checked `parameters`; a missing one has its default."""
        values = {item.name: int(parameters.get(item.name, item.default or 0)) for item in limit_parameters()}
        return Limits(
            max_connections=values["maxConnections"],
            max_buffered_bytes=values["maxBufferedBytes"],
            frame_idle=values["frameIdleTimeoutMs"] / 1000,
            idle=values["idleTimeoutMs"] / 1000,
            write=values["writeTimeoutMs"] / 1000,
        )

    @property
    def shortest(self) -> float:
        """Of the times."""
        return min(self.frame_idle, self.write, self.idle or self.write)

    @property
    def sweep_seconds(self) -> float:
        """How often connections are looked at, so that no time-out is exceeded by more than a quarter, or a second."""
        return min(_LONGEST_SWEEP, max(_SHORTEST_SWEEP, self.shortest / 4))

    def overdue(self, *, inside: bool, silent: float, blocked: float) -> Overdue | None:
        """What is too long: `silent` seconds of reading in vain, `inside` a frame or not, or `blocked` of writing."""
        if blocked > self.write:
            return Overdue.WRITE
        if inside:
            return Overdue.FRAME if silent > self.frame_idle else None
        return Overdue.IDLE if 0 < self.idle < silent else None
