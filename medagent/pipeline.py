"""Everything between devices and server for one configuration: channels, intake, strategy, queue, dispatcher, uplink."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from medagent.channel import ChannelContext
from medagent.clock import Clock
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.errors import PLUGIN_FAULTS, PluginError
from medagent.outbound.outbound import Outbound
from medagent.plugins import Plugins
from medagent.queue.backlog import Backlog
from medagent.queue.base import ChannelDepth, QueueStore, QueueStrategy, Receipt, StrategyContext
from medagent.queue.brake import Brake
from medagent.queue.committer import Committer
from medagent.queue.dispatcher import Dispatcher
from medagent.queue.intake import Intake
from medagent.queue.retention import Retention
from medagent.queue.settlement import Settlement
from medagent.statistics import Statistics
from medagent.supervisor import HostedChannel, Supervisor
from medagent.tasks import Tasks
from medagent.types import PUSH_CHANNEL
from medagent.uplink.answers import Frame, agent_error
from medagent.uplink.base import ServerRequest, TokenSource, Uplink, UplinkContext
from medagent.uplink.frames import encode_frame

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
MAINTAIN_SECONDS = 1.0
AGE_SECONDS = 1.0
"""Between two looks at the age of the oldest live message."""
FLUSH_TIMEOUT = 5.0
"""Seconds that the strategy may take at shutdown to commit what it holds."""
OVERHEAD_WITHOUT_UPLINK = 4096
"""Bytes kept free in a frame for what surrounds the body, when nothing is sent yet."""


class Pipeline:
    """The parts, wired; `start` sets them going, `stop` ends them without losing anything."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        config: AgentConfig,
        *,
        plugins: Plugins,
        store: QueueStore,
        last_seq: int,
        registers: dict[str, dict[str, int]],
        tokens: TokenSource | None,
        requested: Callable[[ServerRequest], None],
        clock: Clock = time,
    ) -> None:
        self.statistics = Statistics()
        self.damaged = asyncio.Event()
        """Set when the queue must be closed and opened again."""
        self._store = store
        self._clock = clock
        self._config = config
        self._last_seq = last_seq
        self._tasks = Tasks()
        self._strategy_tasks = Tasks()
        self._channels: dict[str, HostedChannel] = {}
        brake = Brake(self._channels)
        self.backlog = Backlog(config.backlog, brake)
        self._committer = Committer(
            store,
            on_receipt=self._committed,
            on_refused=lambda message: self._owner(message.channel).refuse_uncommitted(message),
            on_ended=(lambda message: self.backlog.left((message,))) if config.backlog.limited else None,
            change_delay=config.batch.flush_interval_ms / 1000,
            tasks=self._strategy_tasks,
        )
        self._settlement = Settlement(
            committer=self._committer,
            channels=self._channels,
            statistics=self.statistics,
            observe=_observer(plugins, "medagent_messages_settled", "settled"),
            clock=clock,
        )
        self.dispatcher = Dispatcher(
            config,
            store=store,
            committer=self._committer,
            channels=self._channels,
            transforms={channel.name: _transforms(plugins, channel) for channel in config.channels},
            statistics=self.statistics,
            settlement=self._settlement,
            tasks=self._tasks,
            clock=clock,
        )
        self.uplink = _make_uplink(plugins, bootstrap, UplinkContext(config.agent_id, tokens, self.dispatcher, requested))
        overhead = self.uplink.overhead_bytes if self.uplink is not None else OVERHEAD_WITHOUT_UPLINK
        max_body_bytes = max(config.max_frame_bytes - overhead, 1)
        self.intake = Intake(
            agent_id=config.agent_id or "local",
            first_seq=last_seq,
            channels=self._channels,
            dispatcher=self.dispatcher,
            backlog=self.backlog,
            brake=brake,
            max_body_bytes=max_body_bytes,
            observe=_observer(plugins, "medagent_messages_accepted", "messages"),
            clock=clock,
            registers=registers,
        )
        self.outbound = Outbound(
            config,
            factories=plugins.sender_types.factories,
            store=store,
            committer=self._committer,
            backlog=self.backlog,
            statistics=self.statistics,
            next_seq=self.intake.next_seq,
            reply=self.reply,
            clock=clock,
        )
        self._strategy = _make_strategy(
            plugins,
            config,
            StrategyContext(config.batch, self._committer.commit, self._strategy_tasks.spawn, config.settings, clock),
        )
        self.intake.use(self._strategy)
        self.failed_channels: dict[str, str] = {}
        """Channels that their plugin could not make, with the reason."""
        for channel in config.channels:
            if channel.enabled and config.status != "off":
                self._add_channel(plugins, bootstrap, channel, max_body_bytes)
        self.supervisor = Supervisor(list(self._channels.values()))

    def _owner(self, channel: str) -> Intake | Outbound:
        """Who has queued a message of this channel."""
        return self.outbound if channel == PUSH_CHANNEL else self.intake

    def _committed(self, receipt: Receipt) -> None:
        # pushes are committed by themselves: the first message tells whose receipt it is
        named = receipt.committed or [duplicate.message for duplicate in receipt.duplicates]
        self._owner(named[0].channel if named else "").committed(receipt)

    def reply(self, frame: Frame) -> None:
        """Answer a request of the server; with an error if the answer is longer than the server takes."""
        if self.uplink is None:
            return
        size, limit = len(encode_frame(frame)), self._config.max_frame_bytes
        if size > limit:  # the server would close the connection over it, and all that is in flight with it
            text = f"the answer is {size} bytes, and the server takes {limit} (maxFrameBytes)"
            log.warning("a request of the server is answered by an error: %s", text)
            frame = agent_error(frame.get("callback"), text)
        self.uplink.reply(frame)

    def _add_channel(self, plugins: Plugins, bootstrap: Bootstrap, channel: ChannelConfig, max_body_bytes: int) -> None:
        try:
            self._channels[channel.name] = self._host(plugins, bootstrap, channel, max_body_bytes)
        # a plugin's factory may raise anything; the other channels run
        except PLUGIN_FAULTS as error:
            log.error("channel %s cannot be made: %s", channel.name, type(error).__name__)
            self.failed_channels[channel.name] = f"its plugin failed: {type(error).__name__}"

    def _host(self, plugins: Plugins, bootstrap: Bootstrap, channel: ChannelConfig, max_body_bytes: int) -> HostedChannel:
        context = ChannelContext(
            config=channel,
            bind_any=bootstrap.bind_any,
            registers=self.intake.registers(channel.name),
            max_body_bytes=max_body_bytes,
            log=logging.getLogger(f"medagent.channel.{channel.name}"),
            accept=partial(self.intake.accept, channel.name),
            delivered=self._settlement.delivered,
            spawn=self._tasks.spawn,
        )
        return HostedChannel(channel, plugins.channel_types.factories[channel.scheme](context))

    async def start(self) -> None:
        """Read what the queue holds, connect, listen."""
        for name in self._channels:
            await self.dispatcher.add_lane(name, self._last_seq)
        # before the first channel listens, so that a full queue holds it back
        self.backlog.begin(await self._store.depths())
        if self.backlog.watches_age:
            self._tasks.spawn(self._watch_age(), "age of the queue")
        self.outbound.start(self._last_seq)
        if self.uplink is not None:
            self.dispatcher.use(self.uplink)
            self._tasks.spawn(self.uplink.run(), "uplink")
        self._tasks.spawn(self._tick(), "clock of the dispatcher")
        self._tasks.spawn(self._maintain(), "care of the queue")
        self._tasks.spawn(self._retain(), "retention")
        self.supervisor.start()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.dispatcher.tick()

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS)
            await self._store.maintain()
            self.backlog.left(self._store.given_up())
            if self._store.damage:
                self.damaged.set()

    async def _retain(self) -> None:
        retention = Retention(self._store, self._config.retention, self._clock)
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS)
            await retention.tick()

    async def _watch_age(self) -> None:
        while True:
            await asyncio.sleep(AGE_SECONDS)
            try:
                depths = await self._store.depths()
            # whatever a store raises, the next look may succeed
            except Exception as error:  # noqa: BLE001  as said above
                log.error("the age of the queue cannot be read: %s", type(error).__name__)
                continue
            # what waits for a channel that is no longer configured gets no younger, and must not stop the others
            oldest = [depths[name].oldest_accepted_at for name in self._channels if name in depths]
            self.backlog.aged(max(0.0, self._clock.time() - min((at for at in oldest if at is not None), default=math.inf)))

    async def stop(self) -> None:
        """Read no more, commit what was read, acknowledge it, write the states, close the sockets."""
        await self.supervisor.stop_accepting()
        await self._flush_strategy()
        self.intake.accepting = False
        await self.outbound.stop()
        self.dispatcher.stopping = True
        await self._tasks.cancel()
        await self._committer.flush_changes()
        await self.supervisor.close()
        # what `close` reported, and the answers of its last moment
        await self._committer.flush_changes()
        await self._strategy_tasks.cancel()

    async def _flush_strategy(self) -> None:
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT):
                await self._strategy.flush()
        # a strategy may be a plugin's; what it did not commit was not acknowledged, so its senders send it again
        except PLUGIN_FAULTS as error:
            log.error("the queue strategy failed at the end: %s", type(error).__name__)

    @property
    def storage_fault(self) -> str:
        """Why nothing can be committed at the moment; "" if it can."""
        return self._committer.fault

    def figures(self) -> dict[str, int]:
        """What memory knows beside the queue's file."""
        return {
            "in_flight": self.dispatcher.in_flight,
            "buffered": self.intake.buffered,
            "refused": self.intake.refused,
            "refused_full": self.backlog.refused,
            "reused_control_ids": self.intake.reused,
            "unmatched_answers": self.dispatcher.unmatched,
            "server_errors": self.statistics.server_errors,
        }

    async def depths(self) -> dict[str, ChannelDepth]:
        """How the channels stand, as the memory knows it."""
        return await self._committer.depths()


def _transforms(plugins: Plugins, channel: ChannelConfig) -> list[Callable[[str], str]]:
    made = plugins.call_each("medagent_make_transform", channel=channel)
    return [transform for _, transform in made if transform is not None]


# what is observed differs by hook
def _observer(plugins: Plugins, hook: str, argument: str) -> Callable[[str, Sequence[Any]], None] | None:
    """A function that calls an observing hook, or None if nobody listens: then it costs nothing."""
    if not plugins.implements(hook):
        return None

    def observe(channel: str, observed: Sequence[Any]) -> None:
        plugins.call_each(hook, channel=channel, **{argument: observed})

    return observe


def _make_strategy(plugins: Plugins, config: AgentConfig, context: StrategyContext) -> QueueStrategy:
    name = config.queue_strategy
    strategy: QueueStrategy | None = plugins.call_first("medagent_make_queue_strategy", name=name, context=context)
    if strategy is None:
        raise PluginError(f"no plugin offers the queue strategy {name!r}")
    return strategy


def _make_uplink(plugins: Plugins, bootstrap: Bootstrap, context: UplinkContext) -> Uplink | None:
    uplink: Uplink | None = plugins.call_first("medagent_make_uplink", bootstrap=bootstrap, context=context)
    if uplink is None and bootstrap.base_url:
        raise PluginError("no plugin offers an uplink to the FHIR server")
    return uplink
