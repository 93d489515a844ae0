"""A queue at work without sockets, for tests: real store, committer, strategy, intake and dispatcher between doubles."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medagent.channel import Channel, ChannelContext, ChannelFactory
from medagent.config.model import AgentConfig, BacklogConfig, BatchConfig, ChannelConfig, RetryConfig
from medagent.guard import Guard
from medagent.queue.backlog import Backlog
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.brake import Brake
from medagent.queue.committer import Committer
from medagent.queue.dispatcher import ChannelNames, Dispatcher
from medagent.queue.intake import Intake
from medagent.queue.settlement import Settlement
from medagent.queue.sqlite.store import SqliteStore
from medagent.statistics import Statistics
from medagent.supervisor import HostedChannel
from medagent.tasks import Tasks
from medagent.testing.doubles import Clock, MemoryUplink, RecordingChannel, UnreliableStore
from medagent.types import InboundMessage, State

MakeStrategy = Callable[[StrategyContext], QueueStrategy]


def message(control_id: str, body: str | None = None, *, link: str = "c1") -> InboundMessage:
    """As a channel hands it over; the body is by default `body of <control_id>`."""
    return InboundMessage(
        (f"body of {control_id}" if body is None else body).encode("latin-1"), control_id, "10.0.0.7:41022", link
    )


class RecordingGuard(Guard):
    """Keeps the exceptions that it catches, for a test to show."""

    def __init__(self, where: str, raised: list[BaseException]) -> None:
        super().__init__("", where)
        self._raised = raised

    def failed(self, what: str, error: BaseException, name: str = "", *, counts: bool = True, device: str = "") -> None:
        self._raised.append(error)
        super().failed(what, error, name, counts=counts, device=device)


class QueueWorld:
    """One agent's core on a real queue file; `uplink`, `channels` and `clock` are the test's."""

    def __init__(
        self,
        folder: Path,
        *,
        channels: Sequence[str] = ("adt",),
        strategy: MakeStrategy = BatchedStrategy,
        batch: BatchConfig | None = None,
        backlog: BacklogConfig | None = None,
        max_in_flight: int = 1000,
        retry: RetryConfig | None = None,
        channel_names: ChannelNames | None = None,
        max_workers: int = 0,
        max_body_bytes: int = 1_000_000,
        max_frame_bytes: int = 1_048_576,
        # transforms are plugins', so tests give wrong ones too
        transforms: Sequence[Callable[[str], Any]] = (),
        change_delay: float = 0.005,
        clock: Clock | None = None,
    ) -> None:
        """`max_workers` above 0 makes keyed channels: see `medagent.testing.doubles.RecordingChannel.key`. The clock stands
        still unless another is given."""
        self.config = AgentConfig(
            "a-1",
            "Test",
            batch=batch or BatchConfig(),
            retry=retry or RetryConfig(),
            backlog=backlog or BacklogConfig(),
            max_in_flight=max_in_flight,
            max_frame_bytes=max_frame_bytes,
        )
        self.clock = clock or Clock()
        self.store = UnreliableStore(SqliteStore(folder / "queue.db", clock=self.clock))
        self.statistics = Statistics()
        self.tasks = Tasks()
        self.channels = {name: RecordingChannel(max_workers=max_workers) for name in channels}
        self.hosted = {
            name: HostedChannel(ChannelConfig(name, "test", "127.0.0.1", 1, "test://127.0.0.1:1"), channel)
            for name, channel in self.channels.items()
        }
        self.brake = Brake(self.hosted)
        self.backlog = Backlog(self.config.backlog, self.brake)
        self.committer = Committer(
            self.store,
            on_receipt=lambda receipt: self.intake.committed(receipt),
            on_refused=lambda refused: self.intake.refuse_uncommitted(refused),
            on_ended=lambda ended: self.backlog.left((ended,)),
            change_delay=change_delay,
            tasks=self.tasks,
        )
        self.settled: list[tuple[str, State]] = []
        """(control ID, state) of what has ended, in order."""
        self.settlement = Settlement(
            committer=self.committer,
            channels=self.hosted,
            statistics=self.statistics,
            observe=lambda _channel, settled: self.settled.extend((one.control_id, state) for one, state in settled),
            clock=self.clock,
        )
        self.dispatcher = Dispatcher(
            self.config,
            store=self.store,
            committer=self.committer,
            channels=self.hosted,
            statistics=self.statistics,
            settlement=self.settlement,
            tasks=self.tasks,
            channel_names=channel_names,
            clock=self.clock,
        )
        self.dispatcher.use_transforms(dict.fromkeys(channels, transforms))
        self.uplink = MemoryUplink(self.dispatcher)
        self.dispatcher.use(self.uplink)
        self.strategy = strategy(StrategyContext(self.config.batch, self.committer.commit, self.tasks.spawn, clock=self.clock))
        self._max_body_bytes = max_body_bytes
        self._made: list[str] = []
        self.raised: list[BaseException] = []
        """What the code of channels that `make` has made has raised, where the core has caught it."""

    async def __aenter__(self) -> QueueWorld:
        last_seq = await self.store.open()
        self.intake = Intake(
            agent_id="a-1",
            first_seq=last_seq,
            channels=self.hosted,
            dispatcher=self.dispatcher,
            backlog=self.backlog,
            brake=self.brake,
            max_body_bytes=self._max_body_bytes,
            registers=await self.store.registers(),
            clock=self.clock,
        )
        self.intake.use(self.strategy)
        self.backlog.begin(await self.store.depths())
        for name in self.channels:
            await self.dispatcher.add_lane(name, last_seq)
        return self

    async def listen(self, make: ChannelFactory, config: ChannelConfig) -> Channel:
        """Put a real channel in the place of the one of its name, and have it listen until the end."""
        channel = self.make(make, config)
        await channel.start()
        return channel

    def make(self, make: ChannelFactory, config: ChannelConfig) -> Channel:
        """Put a real channel in the place of the one of its name; it is closed in the end."""
        guard = RecordingGuard(f"channel {config.name}", self.raised)
        context = ChannelContext(
            config=config,
            bind_any=False,
            registers=self.intake.registers(config.name),
            max_body_bytes=self._max_body_bytes,
            log=logging.getLogger(f"medagent.channel.{config.name}"),
            accept=partial(self.intake.accept, config.name),
            delivered=self.settlement.delivered,
            spawn=guard.spawner(self.tasks),
            fault=lambda where, error, host: guard.failed(where, error, device=host),
        )
        channel = make(context)
        self.hosted[config.name] = HostedChannel(config, channel, guard=guard)
        self._made.append(config.name)
        return channel

    async def __aexit__(self, *_: object) -> None:
        for name in self._made:
            await self.hosted[name].close()
        await self.tasks.cancel()
        await self.committer.flush_changes()
        await self.store.close()

    @property
    def channel(self) -> RecordingChannel:
        """The first one."""
        return next(iter(self.channels.values()))

    async def accept(self, *messages: InboundMessage, channel: str | None = None) -> None:
        """Hand messages over and wait until each is acknowledged or refused."""
        name = channel or next(iter(self.channels))
        self.intake.accept(name, list(messages))
        await self.strategy.flush()

    async def sent(self, count: int) -> None:
        """Wait until the uplink has taken `count` frames, repeats included."""
        await self.uplink.until(lambda: len(self.uplink.transmitted) >= count)

    async def quiet(self) -> None:
        """Wait until nothing runs in the background but timers."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)

    async def states(self, channel: str | None = None) -> dict[State, int]:
        """How many messages are in which state on disk; states without any are left out."""
        await self.committer.flush_changes()
        depths = await self.store.depths()
        name = channel or next(iter(self.channels))
        return {state: count for state, count in depths[name].counts.items() if count} if name in depths else {}
