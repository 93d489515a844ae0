"""Making the channels of a configuration: each by its plugin's factory, with what the core gives it."""

from __future__ import annotations

import logging
from functools import partial

from medagent.channel import ChannelContext
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.errors import PLUGIN_FAULTS, ChannelError
from medagent.plugins import Plugins
from medagent.queue.forwarding import Transforms
from medagent.queue.intake import Intake
from medagent.queue.settlement import Settlement
from medagent.supervisor import HostedChannel
from medagent.tasks import Tasks


class Hosting:
    """Makes hosted channels for one pipeline."""

    def __init__(
        self,
        plugins: Plugins,
        *,
        bind_any: bool,
        intake: Intake,
        settlement: Settlement,
    ) -> None:
        self._plugins = plugins
        self._bind_any = bind_any
        self._intake = intake
        self._settlement = settlement

    def make(self, config: AgentConfig, channel: ChannelConfig) -> HostedChannel:
        """The channel, not yet started. Raises `ChannelError` if its plugin fails."""
        tasks = Tasks()
        context = ChannelContext(
            config=channel,
            bind_any=self._bind_any,
            registers=self._intake.registers(channel.name),
            max_body_bytes=self._intake.max_body_bytes,
            log=logging.getLogger(f"medagent.channel.{channel.name}"),
            accept=partial(self._intake.accept, channel.name),
            delivered=self._settlement.delivered,
            spawn=tasks.spawn,
        )
        try:
            made = self._plugins.channel_types.factories[channel.scheme](context)
        # a plugin's factory may raise anything
        except PLUGIN_FAULTS as error:
            raise ChannelError(f"its plugin failed: {type(error).__name__}") from error
        return HostedChannel(channel, made, off=config.off_reason(channel), context=context, tasks=tasks)

    def transforms(self, channel: ChannelConfig) -> Transforms:
        """What the plugins change the text of its messages by."""
        made = self._plugins.call_each("medagent_make_transform", channel=channel)
        return [transform for _, transform in made if transform is not None]
