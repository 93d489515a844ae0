"""Applying another configuration, when the rest of the agent does not play along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from medagent import hookimpl
from medagent.channel import ChannelContext, ChannelFactory
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig, BacklogConfig, ChannelConfig
from medagent.guard.breaker import FAULTS_IN_A_ROW
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.queue.sqlite.store import SqliteStore
from medagent.reload.apply import Reload
from medagent.reload.plan import make_plan
from medagent.testing.doubles import RecordingChannel, UnreliableStore
from medagent.testing.queue import message


class World:
    """A plugin that makes the channels, and remembers all of them."""

    def __init__(self) -> None:
        self.made: list[RecordingChannel] = []

    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("test", self._make)

    def _make(self, context: ChannelContext) -> RecordingChannel:
        self.made.append(RecordingChannel(context))
        return self.made[-1]


def channel(port: int) -> ChannelConfig:
    return ChannelConfig("adt", "test", "127.0.0.1", port, f"test://127.0.0.1:{port}")


OLD = AgentConfig("a-1", "Test", channels=(channel(1),))
NEW = replace(OLD, channels=(channel(2),), backlog=BacklogConfig(max_messages=5))


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Pipeline, World, UnreliableStore]]:
    world, plugins = World(), Plugins(entry_points=False)
    plugins.register(world, "world")
    store = UnreliableStore(SqliteStore(folder / "queue.db"))
    last_seq = await store.open()
    pipeline = Pipeline(
        Bootstrap(state_dir=folder),
        OLD,
        plugins=plugins,
        store=store,
        last_seq=last_seq,
        registers=await store.registers(),
        tokens=None,
        requested=lambda request: None,
    )
    await pipeline.start()
    await world.made[0].until(lambda: "start" in world.made[0].calls)
    try:
        yield pipeline, world, store
    finally:
        await store.close()


def reload(pipeline: Pipeline) -> asyncio.Task[list[str]]:
    return asyncio.ensure_future(Reload(pipeline, NEW, make_plan(OLD, NEW)).apply())


async def test_the_end_of_the_agent_does_not_wait_for_a_reload_that_waits_for_the_disk(tmp_path: Path) -> None:
    async with running(tmp_path) as (pipeline, world, store):
        [old] = world.made
        assert old.context is not None
        store.gate.clear()
        old.context.accept([message("a")])
        reloading = reload(pipeline)
        await old.until(lambda: "stop_accepting" in old.calls)
        reloading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reloading
        new = world.made[1]
        assert new.calls == ["start", "close"]
        assert "close" not in old.calls, "it is to acknowledge what it has read"
        store.gate.set()
        await pipeline.stop()
        assert [one.control_id for one in old.acknowledged] == ["a"]
        assert old.calls[-1] == "close"
        assert len(world.made) == 2


async def fail() -> None:
    raise RuntimeError


async def test_what_has_failed_meanwhile_is_not_made_anew_when_nothing_comes_of_the_reload(tmp_path: Path) -> None:
    async with running(tmp_path) as (pipeline, world, store):
        store.gate.clear()
        assert world.made[0].context is not None
        world.made[0].context.accept([message("a")])
        reloading = reload(pipeline)
        await world.made[0].until(lambda: "stop_accepting" in world.made[0].calls)
        new = world.made[1]
        assert new.context is not None
        for _ in range(FAULTS_IN_A_ROW):
            new.context.spawn(fail(), "work")
        await new.until(lambda: "close" in new.calls)
        store.gate.set()
        [problem] = await reloading
        assert problem.startswith("channel adt cannot listen: it is made anew, since its code fails")
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("revival")]
        assert [each.calls[-1] for each in world.made] == ["close", "close", "start"]
        await pipeline.stop()


async def test_a_queue_that_cannot_be_read_is_told_and_everything_is_as_before(tmp_path: Path) -> None:
    async with running(tmp_path) as (pipeline, world, store):
        store.fail_reads = True
        assert await reload(pipeline) == ["it cannot be applied: OSError"]
        assert pipeline.config is OLD
        assert [each.calls[-1] for each in world.made] == ["close", "close", "start"]
        store.fail_reads = False
        assert await reload(pipeline) == []
        await pipeline.stop()
