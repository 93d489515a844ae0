"""What the parts of `QueueStrategyContract` share: a strategy between a real intake, committer and store."""

from __future__ import annotations

import contextlib
import functools
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from medagent.config.model import BatchConfig, Value
from medagent.plugins import Plugins
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.testing.contracts.promise import Contract, expect
from medagent.testing.doubles import RunningClock
from medagent.testing.queue import QueueWorld, message
from medagent.types import InboundMessage

STRATEGY = "medagent.queue.base.QueueStrategy"


class StrategyWorld:
    """A strategy at work, and what it has asked to be committed."""

    def __init__(
        self,
        folder: Path,
        make: Callable[[StrategyContext], QueueStrategy],
        batch: BatchConfig,
        raised: list[BaseException],
    ) -> None:
        """`raised` is filled with what `put` and the strategy's tasks raise."""
        self.batches: list[list[str]] = []
        self.running = 0
        """Calls of `StrategyContext.commit` that have not returned."""
        self.most = 0
        """The most that ran at a time."""
        self._make = make
        self._raised = raised
        folder.mkdir(exist_ok=True)
        self.queue = QueueWorld(folder, strategy=self._watched, batch=batch, clock=RunningClock())
        self.store, self.strategy = self.queue.store, self.queue.strategy
        self.put: list[str] = []

    def _watched(self, context: StrategyContext) -> QueueStrategy:
        async def commit(messages: Sequence[InboundMessage]) -> None:
            self.batches.append([one.control_id for one in messages])
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                await context.commit(messages)
            finally:
                self.running -= 1

        # as `StrategyContext.spawn`
        def spawn(coroutine: Coroutine[Any, Any, Any], name: str) -> object:
            return context.spawn(self._noted(coroutine), name)

        return _Noted(self._make(replace(context, commit=commit, spawn=spawn)), self._raised)

    # as above
    async def _noted(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        try:
            await coroutine
        except Exception as error:
            self._raised.append(error)
            raise

    def accept(self, *control_ids: str) -> None:
        """As one read of a channel."""
        self.put += control_ids
        self.queue.intake.accept("adt", [message(name) for name in control_ids])

    @property
    def acknowledged(self) -> list[str]:
        return [one.control_id for one in self.queue.channel.acknowledged]

    @property
    def refused(self) -> list[str]:
        return [one.control_id for one, _ in self.queue.channel.refusals]

    @property
    def committed(self) -> list[str]:
        """All that it has asked to be committed, in order."""
        return [name for batch in self.batches for name in batch]

    async def on_disk(self) -> list[str]:
        """In the order of the queue."""
        return [one.control_id for one in await self.store.fetch("adt", 0, 100_000, 1 << 30)]


class _Noted:
    """A strategy, and a note of what its `put` raises: the intake catches it, and refuses the messages."""

    def __init__(self, strategy: QueueStrategy, raised: list[BaseException]) -> None:
        self._strategy = strategy
        self._raised = raised
        self.flush = strategy.flush

    def put(self, messages: Sequence[InboundMessage]) -> None:
        try:
            # a coroutine, for one, where nothing is due is for the suite to see
            return self._strategy.put(messages)
        except Exception as error:
            self._raised.append(error)
            raise


class StrategyGround(Contract):
    """The factory, and strategies at work."""

    settings: ClassVar[Mapping[str, Value]] = {}
    """Values of the strategy's own settings, if they shall differ from their defaults or its plugin is not installed."""

    @abstractmethod
    def make(self, context: StrategyContext) -> QueueStrategy:
        """A new strategy. A child process calls it too, so it needs no fixtures."""

    def make_configured(self, context: StrategyContext) -> QueueStrategy:
        """As the core does: with every known setting, those of installed plugins included."""
        return self.make(replace(context, settings={**_defaults(), **self.settings}))

    @contextlib.asynccontextmanager
    async def world(self, folder: Path, batch: BatchConfig | None = None) -> AsyncIterator[StrategyWorld]:
        world = StrategyWorld(folder, self.make_configured, batch or BatchConfig(flush_interval_ms=50), self.raised)
        async with world.queue:
            yield world

    async def flush(self, world: StrategyWorld) -> None:
        await self.within(
            world.strategy.flush(), lambda: f"flush() has not returned; not acknowledged or refused: {missing(world) or 'none'}"
        )


@functools.cache
def _defaults() -> dict[str, Value]:
    return {setting.name: setting.default for setting in Plugins().registry.settings() if setting.default is not None}


def missing(world: StrategyWorld) -> str:
    done = {*world.acknowledged, *world.refused}
    return some([name for name in world.put if name not in done])


def some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def exactly_once(world: StrategyWorld, note: str = "") -> None:
    committed = world.committed
    dropped = [name for name in world.put if name not in committed]
    expect(not dropped, f"never committed: {some(dropped)}{note}")
    doubled = sorted({name for name in committed if committed.count(name) > 1})
    expect(not doubled, f"committed more than once: {some(doubled)}{note}")
    expect(committed == world.put, f"put in the order {some(world.put)}, committed in the order {some(committed)}{note}")
    expect(world.acknowledged == world.put, f"not acknowledged in order: {some(world.acknowledged)}{note}")
