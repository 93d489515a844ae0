"""Having plugins make what a configuration asks for, each under its guard: channels, transforms, strategy, store, uplink."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import cast

from medagent.channel import Channel, ChannelContext
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.errors import BrokenPromise, ChannelError, PluginError
from medagent.guard import Guard
from medagent.plugins import Plugins
from medagent.plugins.calls import conforming
from medagent.queue.base import QueueStore, QueueStrategy, StoreContext, StrategyContext
from medagent.queue.forwarding import Transforms
from medagent.queue.guarded import GuardedStrategy
from medagent.queue.hosted_store import HostedStore
from medagent.queue.intake import Intake
from medagent.queue.settlement import Settlement
from medagent.supervisor import HostedChannel, Made
from medagent.tasks import Tasks
from medagent.transform import Transform, made_transform
from medagent.types import InboundMessage
from medagent.uplink.base import Uplink, UplinkContext
from medagent.uplink.hosted import HostedUplink

UNKNOWN = "(unknown)"
"""What a plugin is called that has failed to make a queue strategy."""


class Hosting:
    """Makes hosted channels for one pipeline."""

    def __init__(
        self,
        plugins: Plugins,
        *,
        bind_any: bool,
        intake: Intake,
        settlement: Settlement,
        revive: Callable[[HostedChannel], None],
    ) -> None:
        """`revive` is told of a channel that must be made anew."""
        self._plugins = plugins
        self._bind_any = bind_any
        self._intake = intake
        self._settlement = settlement
        self._revive = revive

    def make(self, config: AgentConfig, channel: ChannelConfig) -> HostedChannel:
        """The channel, not yet started. Raises `ChannelError` if its plugin fails."""
        plugin = self._plugins.channel_types.owners.get(channel.scheme, "")
        guard = self._plugins.guards.renew(plugin, f"channel {channel.name}")
        make = partial(self._make, guard)
        made = make(channel)
        return HostedChannel(
            channel,
            made.channel,
            off=config.off_reason(channel),
            context=made.context,
            tasks=made.tasks,
            guard=guard,
            outlet=self._plugins.guards.renew(plugin, f"forward of channel {channel.name}"),
            make=make,
            went_down=self._revive,
        )

    def _make(self, guard: Guard, channel: ChannelConfig) -> Made:
        tasks = Tasks()
        intake_accept = partial(self._intake.accept, channel.name)

        def accept(messages: list[InboundMessage]) -> None:
            if guard.breaker.troubled:
                guard.breaker.devices_succeeded()
            intake_accept(messages)

        def fault(where: str, error: Exception, host: str) -> None:
            guard.failed(where, error, device=host or "unknown")

        context = ChannelContext(
            config=channel,
            bind_any=self._bind_any,
            registers=self._intake.registers(channel.name),
            max_body_bytes=self._intake.max_body_bytes,
            log=logging.getLogger(f"medagent.channel.{channel.name}"),
            accept=accept,
            delivered=self._settlement.delivered,
            spawn=guard.spawner(tasks),
            fault=fault,
        )

        def made() -> Channel:
            channel_made: Channel | None = conforming(self._plugins.channel_types.factories[channel.scheme](context), Channel)
            if channel_made is None:
                raise BrokenPromise("it makes no channel")
            if type(channel_made.content_type) is not str:
                raise BrokenPromise("the content_type of its channel is no text")
            return channel_made

        try:
            return Made(guard.attempt("", made, regardless=True), context, tasks)
        # a plugin's factory may raise anything
        except Exception as error:
            raise ChannelError(f"its plugin failed: {guard.last_fault}") from error

    def transforms(self, channel: ChannelConfig) -> Transforms:
        """What the plugins change the text of its messages by."""
        found: list[Transform] = []
        for hook, make in self._plugins.implementations("medagent_make_transform", channel=channel):
            guard = self._plugins.guards.renew(hook.plugin, f"transform of channel {channel.name}")
            if (transform := made_transform(guard, make)) is not None:
                found.append(transform)
        return found


def make_strategy(
    plugins: Plugins, name: str, context: StrategyContext, tasks: Tasks, refuse: Callable[[InboundMessage], None]
) -> QueueStrategy:
    """The queue strategy of this name; one that is not built in under guard, with the built-in one behind it.

    `tasks` and `refuse` are as in `GuardedStrategy`.
    """

    def make(context: StrategyContext) -> tuple[str, QueueStrategy]:
        made = plugins.make("medagent_make_queue_strategy", QueueStrategy, name=name, context=context)
        if made is None:
            raise BrokenPromise(f"no plugin offers the queue strategy {name!r}")
        return made

    try:
        plugin, strategy = make(context)
    except BrokenPromise:  # the configuration names none that is unknown, so it has just failed
        plugin = UNKNOWN
    else:
        if plugin in plugins.guards.built_in:
            return strategy
    guard = plugins.guards.renew(plugin, f"queue strategy {name}")
    return GuardedStrategy(lambda guarded: make(guarded)[1], context, guard=guard, tasks=tasks, refuse=refuse)


def make_store(plugins: Plugins, url: str, context: StoreContext) -> QueueStore:
    """The queue store for this URL. Raises `PluginError` if there is none."""
    made = plugins.make("medagent_make_queue_store", QueueStore, url=url, context=context)
    if made is None:
        # the rest may hold a password
        raise PluginError(f"no plugin offers a queue store for URLs with {url.partition(':')[0]}: (queue_store)")
    plugin, store = made
    if plugin in plugins.guards.built_in:
        return cast("QueueStore", store)
    return HostedStore(store, plugins.guards.renew(plugin, "queue store", stoppable=False))


def make_uplink(plugins: Plugins, bootstrap: Bootstrap, context: UplinkContext) -> HostedUplink | None:
    """The connection to the FHIR server; None without one. Raises `PluginError` if nobody can make it."""
    made = plugins.make("medagent_make_uplink", Uplink, bootstrap=bootstrap, context=context)
    if made is None:
        if bootstrap.base_url:
            raise PluginError("no plugin offers an uplink to the FHIR server")
        return None
    plugin, uplink = made
    return HostedUplink(uplink, plugins.guards.renew(plugin, "uplink"), context.handler)
