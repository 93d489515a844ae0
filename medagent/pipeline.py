"""Everything between devices and server for one configuration: channels, intake, strategy, queue, dispatcher, uplink."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from medagent.awaiting import awaited
from medagent.clock import Clock
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig
from medagent.errors import ChannelError, PluginError, PluginTimeout
from medagent.fhir.route import DIRECT, Route
from medagent.hosting import Hosting, make_strategy, make_uplink
from medagent.outbound.outbound import Outbound
from medagent.plugins import Plugins
from medagent.queue.backlog import Backlog
from medagent.queue.base import ChannelDepth, QueueStore, QueueStrategy, Receipt, StrategyContext
from medagent.queue.brake import Brake
from medagent.queue.committer import Committer
from medagent.queue.dispatcher import ChannelNames, Dispatcher
from medagent.queue.guarded import GuardedStrategy
from medagent.queue.intake import Intake
from medagent.queue.retention import Retention
from medagent.queue.settlement import Settlement
from medagent.statistics import Statistics
from medagent.supervisor import HostedChannel, Supervisor
from medagent.tasks import Tasks
from medagent.types import PUSH_CHANNEL, InboundMessage
from medagent.uplink.answers import Frame, agent_error
from medagent.uplink.base import ServerRequest, TokenSource, UplinkContext
from medagent.uplink.frames import encode_frame

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
MAINTAIN_SECONDS = 1.0
AGE_SECONDS = 1.0
"""Between two looks at the age of the oldest live message."""
PATIENCE = 60.0
"""Seconds that the strategy may take at a reload to commit what it holds: a disk that hangs must not make it fail."""
FLUSH_TIMEOUT = 5.0
"""Seconds that the strategy may take at shutdown to commit what it holds."""
TASKS_TIMEOUT = 1.0
"""Seconds that what the strategy has spawned may take to end."""
OVERHEAD_WITHOUT_UPLINK = 4096
"""Bytes kept free in a frame for what surrounds the body, when nothing is sent yet."""
_FLUSH, _RELOAD = "flush", "reload"


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
        route: Route = DIRECT,
        channel_names: ChannelNames | None = None,
        clock: Clock = time,
    ) -> None:
        self.statistics = Statistics()
        self.damaged = asyncio.Event()
        """Set when the queue must be closed and opened again."""
        self.config = config
        """In force."""
        self.channels: dict[str, HostedChannel] = {}
        """By name; those that are off too."""
        self.failed_channels: dict[str, str] = {}
        """Channels that their plugin could not make, with the reason."""
        self.supervisor = Supervisor(self.channels)
        self._plugins = plugins
        self.store = store
        self._clock = clock
        self._last_seq = last_seq
        self._tasks = Tasks()
        self._strategy_tasks = Tasks()
        self._brake = Brake(self.channels)
        self.backlog = Backlog(config.backlog, self._brake)
        self._retention = Retention(store, config.retention, clock)
        self._committer = Committer(
            store,
            on_receipt=self._committed,
            on_refused=lambda message: self._owner(message.channel).refuse_uncommitted(message),
            on_ended=self._on_ended,
            change_delay=config.batch.flush_interval_ms / 1000,
            tasks=self._strategy_tasks,
        )
        self._settlement = Settlement(
            committer=self._committer,
            channels=self.channels,
            statistics=self.statistics,
            observe=_observer(plugins, "medagent_messages_settled", "settled"),
            clock=clock,
        )
        self.dispatcher = Dispatcher(
            config,
            store=store,
            committer=self._committer,
            channels=self.channels,
            statistics=self.statistics,
            settlement=self._settlement,
            tasks=self._tasks,
            channel_names=channel_names,
            clock=clock,
        )
        context = UplinkContext(config.agent_id, tokens, self.dispatcher, requested, route)
        self.uplink = make_uplink(plugins, bootstrap, context)
        self.intake = Intake(
            agent_id=config.agent_id or "local",
            first_seq=last_seq,
            channels=self.channels,
            dispatcher=self.dispatcher,
            backlog=self.backlog,
            brake=self._brake,
            max_body_bytes=self._max_body_bytes(config),
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
            guard_of=lambda scheme: plugins.guards.of(plugins.sender_types.owners.get(scheme, ""), f"sender for {scheme}://"),
            clock=clock,
        )
        self._strategy = self._make_strategy(config)
        self.intake.use(self._strategy)
        self.hosting = Hosting(
            plugins,
            bind_any=bootstrap.bind_any,
            intake=self.intake,
            settlement=self._settlement,
            revive=self.supervisor.revive,
        )
        for channel in config.channels:
            try:
                self.channels[channel.name] = self.hosting.make(config, channel)
            except ChannelError as error:
                log.error("channel %s cannot be made: %s", channel.name, error)
                self.failed_channels[channel.name] = str(error)
        self._use_transforms()

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
        size, limit = len(encode_frame(frame)), self.config.max_frame_bytes
        if size > limit:  # the server would close the connection over it, and all that is in flight with it
            text = f"the answer is {size} bytes, and the server takes {limit} (maxFrameBytes)"
            log.warning("a request of the server is answered by an error: %s", text)
            frame = agent_error(frame.get("callback"), text)
        self.uplink.reply(frame)

    @property
    def _on_ended(self) -> Callable[[InboundMessage], None] | None:
        return (lambda message: self.backlog.left((message,))) if self.backlog.limited else None

    def _max_body_bytes(self, config: AgentConfig) -> int:
        overhead = self.uplink.overhead_bytes if self.uplink is not None else OVERHEAD_WITHOUT_UPLINK
        return max(config.max_frame_bytes - overhead, 1)

    def _use_transforms(self) -> None:
        self._plugins.guards.settle("transform of channel ")  # also of channels that are no more
        self.dispatcher.use_transforms({each.name: self.hosting.transforms(each) for each in self.config.channels})

    def _make_strategy(self, config: AgentConfig) -> QueueStrategy:
        context = StrategyContext(
            config.batch, self._committer.commit, self._strategy_tasks.spawn, config.settings, self._clock
        )
        refuse = self.intake.refuse_uncommitted
        return make_strategy(self._plugins, config.queue_strategy, context, self._strategy_tasks, refuse)

    @property
    def strategy_fault(self) -> str:
        """Why the built-in queue strategy works in the place of the configured one; "" if it does not."""
        return self._strategy.failed if isinstance(self._strategy, GuardedStrategy) else ""

    async def start(self) -> None:
        """Read what the queue holds, connect, listen."""
        if self.config.sends:
            for name in list(self.channels):
                await self.dispatcher.add_lane(name, self._last_seq)
        # before the first channel listens, so that a full queue holds it back
        self.backlog.begin(await self.store.depths())
        self._tasks.spawn(self._watch_age(), "age of the queue")
        self.outbound.start(self._last_seq)
        if self.uplink is not None:
            self.dispatcher.use(self.uplink)
            self._tasks.spawn(self.uplink.run(), "uplink")
        self._tasks.spawn(self._tick(), "clock of the dispatcher")
        self._tasks.spawn(self._maintain(), "care of the queue")
        self._tasks.spawn(self._retain(), "retention")
        self.supervisor.start()

    async def flush(self, seconds: float = PATIENCE) -> None:
        """Commit and acknowledge what the channels have handed over so far; they read nothing meanwhile.

        Raises whatever the strategy does, and `PluginTimeout` if it takes more than `seconds`.
        """
        self._brake.hold(_FLUSH)
        try:
            await awaited(self._strategy.flush(), seconds)
        except PluginError as error:
            raise type(error)(f"the queue strategy {self.config.queue_strategy} does not commit: {error}") from error
        finally:
            self._brake.release(_FLUSH)

    async def reconfigure(self, config: AgentConfig, hosts: Mapping[str, HostedChannel]) -> None:
        """Work by another configuration from now on. Whatever it raises, then nothing has changed.

        `hosts`: channels that come in the place of those of their names, or are new. They may listen already; what has no
        place in `config` any more must have stopped.
        """
        # a strategy may look at every setting
        same = (config.queue_strategy, config.settings) == (self.config.queue_strategy, self.config.settings)
        kept = same and config.batch == self.config.batch and not self.strategy_fault
        strategy = self._strategy if kept else self._make_strategy(config)
        places = {channel.name: channel for channel in config.channels}
        coming = {name: hosts.get(name) or self.channels[name] for name in places if name in hosts or name in self.channels}
        self._brake.hold(_RELOAD)
        try:
            # a limit that is new counts what is live, so nothing may be on its way into the queue
            await self.flush()
            await self._committer.flush_changes()
            depths = await self._committer.depths() if self.backlog.must_count(config.backlog) else {}
            to_make = self._lanes_to_make(config, coming, hosts)
            async with self._committer.still():
                retries = {name: await self.store.retries(name) for name in to_make}
                # from here to the end nothing waits, and nothing can fail
                self._use(config, strategy, depths)
                self._replace(coming)
                made = {name: self._committer.with_unwritten(name, found) for name, found in retries.items()}
                self.dispatcher.reconfigure(config, dict.fromkeys(coming if config.sends else ()) | made, self.intake.last_seq)
        finally:
            self._brake.release(_RELOAD)

    def _lanes_to_make(
        self, config: AgentConfig, coming: Mapping[str, HostedChannel], hosts: Mapping[str, HostedChannel]
    ) -> set[str]:
        if not config.sends:
            return set()
        other_keys = {
            name
            for name, host in hosts.items()
            if host.max_workers and name in self.channels and self.channels[name].config.parameters != host.config.parameters
        }
        return self.dispatcher.lanes_to_make(coming, config.max_in_flight) | other_keys

    def _use(self, config: AgentConfig, strategy: QueueStrategy, depths: Mapping[str, ChannelDepth]) -> None:
        self.config = config
        self._strategy = strategy
        self.intake.use(strategy)
        self.intake.max_body_bytes = self._max_body_bytes(config)
        self.backlog.reconfigure(config.backlog, depths)
        self._committer.on_ended = self._on_ended
        self._committer.change_delay = config.batch.flush_interval_ms / 1000
        self._retention.reconfigure(config.retention)
        self.outbound.reconfigure(config)
        self._use_transforms()

    def _replace(self, coming: Mapping[str, HostedChannel]) -> None:
        """These are the channels now."""
        for name in self.channels.keys() - coming.keys():
            del self.channels[name]
        self.failed_channels = {name: reason for name, reason in self.failed_channels.items() if name not in coming}
        self.put(coming)
        for channel in self.channels.values():
            channel.resize(self.intake.max_body_bytes)

    def put(self, hosts: Mapping[str, HostedChannel]) -> None:
        """These channels come in the place of those of their names."""
        self.channels.update(hosts)
        for host in hosts.values():
            self._brake.joined(host)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.dispatcher.tick()
            if isinstance(self._strategy, GuardedStrategy):
                self._strategy.look(TICK_SECONDS)

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS)
            await self.store.maintain()
            self.backlog.left(self.store.given_up())
            if self.store.damage:
                self.damaged.set()

    async def _retain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_SECONDS)
            await self._retention.tick()

    async def _watch_age(self) -> None:
        while True:
            await asyncio.sleep(AGE_SECONDS)
            if not self.backlog.watches_age:
                continue
            try:
                depths = await self.store.depths()
            # whatever a store raises, the next look may succeed
            except Exception as error:  # noqa: BLE001  as said above
                log.error("the age of the queue cannot be read: %s", type(error).__name__)
                continue
            # what waits for a channel that is no longer configured gets no younger, and must not stop the others
            oldest = [depths[name].oldest_accepted_at for name in self.channels if name in depths]
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
        with suppress(PluginTimeout):  # a strategy may be a plugin's, and its tasks swallow their cancellation
            await awaited(self._strategy_tasks.cancel(), TASKS_TIMEOUT)

    async def _flush_strategy(self) -> None:
        try:
            await self.flush(FLUSH_TIMEOUT)
        # a strategy may be a plugin's; what it did not commit was not acknowledged, so its senders send it again
        except Exception as error:  # noqa: BLE001  as said above
            log.error("the queue strategy failed at the end: %s", type(error).__name__)
            if isinstance(self._strategy, GuardedStrategy) and not self._strategy.failed:
                self._strategy.give_up("it does not come to an end")
                await self._flush_strategy()

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


# what is observed differs by hook
def _observer(plugins: Plugins, hook: str, argument: str) -> Callable[[str, Sequence[Any]], None] | None:
    """A function that calls an observing hook, or None if nobody listens: then it costs nothing."""
    if not plugins.implements(hook):
        return None

    def observe(channel: str, observed: Sequence[Any]) -> None:
        plugins.call_each(hook, channel=channel, **{argument: observed})

    return observe
