"""Making the channels of a configuration: each by its plugin's factory, with what the core gives it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from medagent.channel import ChannelContext
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.plugins import Plugins
from medagent.queue.forwarding import Transforms
from medagent.queue.intake import Intake
from medagent.queue.settlement import Settlement
from medagent.supervisor import HostedChannel


class Hosting:
    """Makes hosted channels for one pipeline."""

    def __init__(
        self,
        plugins: Plugins,
        *,
        bind_any: bool,
        intake: Intake,
        settlement: Settlement,
        # the result of a background task is not looked at, so its type does not matter
        spawn: Callable[[Coroutine[Any, Any, Any], str], object],
    ) -> None:
        self._plugins = plugins
        self._bind_any = bind_any
        self._intake = intake
        self._settlement = settlement
        self._spawn = spawn
        self._contexts: dict[str, ChannelContext] = {}
        """Of the channels made last, by name."""

    def make(self, config: AgentConfig, channel: ChannelConfig) -> HostedChannel:
        """The channel, not yet started. Raises whatever its plugin does."""
        context = self._contexts[channel.name] = ChannelContext(
            config=channel,
            bind_any=self._bind_any,
            registers=self._intake.registers(channel.name),
            max_body_bytes=self._intake.max_body_bytes,
            log=logging.getLogger(f"medagent.channel.{channel.name}"),
            accept=partial(self._intake.accept, channel.name),
            delivered=self._settlement.delivered,
            spawn=self._spawn,
        )
        made = self._plugins.channel_types.factories[channel.scheme](context)
        return HostedChannel(channel, made, off=config.off_reason(channel))

    def resize(self) -> None:
        """Tell the channels how long a body may be now."""
        for context in self._contexts.values():
            context.max_body_bytes = self._intake.max_body_bytes

    def transforms(self, channel: ChannelConfig) -> Transforms:
        """What the plugins change the text of its messages by."""
        made = self._plugins.call_each("medagent_make_transform", channel=channel)
        return [transform for _, transform in made if transform is not None]
