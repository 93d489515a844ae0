"""What a plugin may ask of the agent that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from medagent.channel import Channel
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig


class RunningAgent(Protocol):
    """The agent, as hooks get it. What else the object has is not for plugins, and may change at any time."""

    bootstrap: Bootstrap
    """What it was started with."""

    @property
    def config(self) -> AgentConfig | None:
        """The configuration in force; None until it is loaded."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The channels as their plugins made them, by name, those included that are off; calls of them are not guarded."""

    @property
    def uptime(self) -> float:
        """Seconds since the start."""

    # a frame of the agent protocol: its fields depend on its type
    def reply(self, frame: dict[str, Any]) -> None:
        """Answer a request of the server: `frame` has its `callback` (`medagent.uplink.answers` makes such).

        While the connection is away it is kept for a minute; one that is longer than the server takes becomes an error.
        """

    def reload_soon(self, why: str) -> None:
        """Read the configuration again, in the background; the log says `why`, and how it ended."""
