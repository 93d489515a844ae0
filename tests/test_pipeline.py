"""The parts, wired: with plugins that are well, and with plugins that are not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from medagent import hookimpl, transform
from medagent import pipeline as pipeline_module
from medagent.channel import ChannelContext, ChannelFactory
from medagent.config.bootstrap import Bootstrap
from medagent.config.model import AgentConfig, ChannelConfig
from medagent.pipeline import Pipeline
from medagent.plugins import Plugins
from medagent.queue.base import QueueStrategy, StrategyContext
from medagent.queue.batched import BatchedStrategy
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.doubles import MemoryUplink, RecordingChannel
from medagent.testing.queue import message
from medagent.types import InboundMessage, State
from medagent.uplink.base import UplinkContext

CANARY = "JANE^CANARY"


class Untyped(RecordingChannel):
    @property
    def content_type(self) -> str:  # type: ignore[override]
        raise RuntimeError(CANARY)


class World:
    """A plugin that makes doubles of everything around the pipeline."""

    def __init__(self) -> None:
        self.channels: dict[str, RecordingChannel] = {}
        self.uplink: MemoryUplink | None = None
        self.observed: list[tuple[str, str, list[str]]] = []

    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("test", self._make)

    def _make(self, context: ChannelContext) -> RecordingChannel:
        if context.config.name == "broken":
            raise RuntimeError(CANARY)
        if context.config.name == "untyped":
            return Untyped(context)
        channel = self.channels[context.config.name] = RecordingChannel(context)
        return channel

    @hookimpl(tryfirst=True)
    def medagent_make_uplink(self, context: UplinkContext) -> MemoryUplink:
        # `context.handler` is the dispatcher
        self.uplink = MemoryUplink(context.handler)
        return self.uplink

    @hookimpl
    def medagent_messages_accepted(self, channel: str, messages: Sequence[InboundMessage]) -> None:
        self.observed.append(("accepted", channel, [one.control_id for one in messages]))

    @hookimpl
    def medagent_messages_settled(self, channel: str, settled: Sequence[tuple[InboundMessage, State]]) -> None:
        self.observed.append(("settled", channel, [f"{one.control_id} {state.name}" for one, state in settled]))

    def accept(self, channel: str, *messages: InboundMessage) -> None:
        context = self.channels[channel].context
        assert context is not None
        context.accept(list(messages))

    @property
    def server(self) -> MemoryUplink:
        assert self.uplink is not None
        return self.uplink


def config(*channels: str, **values: Any) -> AgentConfig:  # of any setting
    made = tuple(ChannelConfig(name, "test", "127.0.0.1", 1, "test://127.0.0.1:1") for name in channels)
    return AgentConfig("a-1", "Test", channels=made, **values)


@asynccontextmanager
async def running(
    folder: Path, agent_config: AgentConfig, *others: object
) -> AsyncIterator[tuple[Pipeline, World, SqliteStore]]:
    world, plugins = World(), Plugins(entry_points=False)
    plugins.register(world, "world")
    for number, other in enumerate(others):
        plugins.register(other, f"other-{number}")
    store = SqliteStore(folder / "queue.db")
    last_seq = await store.open()
    try:
        pipeline = Pipeline(
            Bootstrap(base_url="http://127.0.0.1:1/", state_dir=folder),
            agent_config,
            plugins=plugins,
            store=store,
            last_seq=last_seq,
            registers=await store.registers(),
            tokens=None,
            requested=lambda request: None,
        )
        await pipeline.start()
        yield pipeline, world, store
    finally:
        await store.close()


async def counts(store: SqliteStore, channel: str = "adt") -> dict[State, int]:
    return {state: count for state, count in (await store.depths())[channel].counts.items() if count}


async def test_a_message_goes_from_device_to_server_and_back(tmp_path: Path) -> None:
    async with running(tmp_path, config("adt")) as (pipeline, world, store):
        world.accept("adt", message("a", CANARY))
        await world.server.until(lambda: world.server.transmitted)
        assert world.server.bodies == [CANARY]
        world.server.answer(*world.server.transmitted)
        assert [answer.body for _, answer in world.channels["adt"].answers] == [f"ACK of {CANARY}"]
        assert world.observed == [("accepted", "adt", ["a"]), ("settled", "adt", ["a RESPONSE_SENT"])]
        await pipeline.stop()
        assert await counts(store) == {State.RESPONSE_SENT: 1}


async def test_at_the_end_everything_read_is_committed_and_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path, config("adt")) as (pipeline, world, store):
        await world.channels["adt"].until(lambda: "start" in world.channels["adt"].calls)
        world.accept("adt", *(message(f"m{number}") for number in range(250)))
        await pipeline.stop()
        assert len(world.channels["adt"].acknowledged) == 250
        assert world.channels["adt"].calls == ["start", "stop_accepting", "close"]
        assert sum((await counts(store)).values()) == 250
        world.accept("adt", message("late"))
        assert [one.control_id for one, _ in world.channels["adt"].refusals] == ["late"]


async def test_a_channel_that_is_off_does_not_listen_and_what_it_has_accepted_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path, config("oru")) as (pipeline, world, _):
        await world.channels["oru"].until(lambda: "start" in world.channels["oru"].calls)
        world.server.disconnect()
        world.accept("oru", message("a"))
        await pipeline.stop()
    channels = config("adt", "oru").channels
    off = ChannelConfig("oru", "test", "127.0.0.1", 1, "test://127.0.0.1:1", enabled=False)
    async with running(tmp_path, AgentConfig("a-1", "Test", channels=(channels[0], off))) as (pipeline, world, _):
        await world.server.until(lambda: world.server.transmitted)
        assert [each.state for each in pipeline.supervisor.channels][1] == "off"
        assert world.channels["oru"].calls == []
        await pipeline.stop()


async def test_a_channel_that_its_plugin_cannot_make_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path, config("broken", "untyped", "adt")) as (pipeline, world, _):
        assert list(pipeline.failed_channels) == ["broken", "untyped"]
        assert all("RuntimeError" in reason for reason in pipeline.failed_channels.values())
        world.accept("adt", message("a"))
        await world.channels["adt"].until(lambda: world.channels["adt"].acknowledged)
        await pipeline.stop()
    assert CANARY not in caplog.text


async def test_in_the_place_of_a_strategy_that_nobody_can_make_the_built_in_one_works(tmp_path: Path) -> None:
    async with running(tmp_path, config("adt", queue_strategy="turbo")) as (pipeline, world, _):
        world.accept("adt", message("a"))
        await world.channels["adt"].until(lambda: world.channels["adt"].acknowledged)
        assert "no plugin offers the queue strategy 'turbo'" in pipeline.strategy_fault
        await pipeline.stop()


class Mine(BatchedStrategy):
    """A third party's strategy that does not end well."""

    mode = "hangs"

    @hookimpl
    def medagent_make_queue_strategy(self, name: str, context: StrategyContext) -> QueueStrategy | None:
        if name != "mine":
            return None
        type(self).__init__(self, context)
        return self

    def __init__(self, context: StrategyContext | None = None) -> None:
        if context is not None:
            super().__init__(context)

    async def flush(self) -> None:
        if self.mode == "raises":
            raise RuntimeError(CANARY)
        if self.mode == "stays":
            self._spawn(self._stay(), "stays")
            return
        await asyncio.Event().wait()

    async def _stay(self) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()


@pytest.mark.parametrize("mode", ["hangs", "raises", "stays"])
async def test_a_strategy_that_fails_at_the_end_does_not_keep_it_from_coming(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline_module, "FLUSH_TIMEOUT", 0.01)
    monkeypatch.setattr(pipeline_module, "TASKS_TIMEOUT", 0.01)
    monkeypatch.setattr(Mine, "mode", mode)
    async with running(tmp_path, config("adt", queue_strategy="mine"), Mine()) as (pipeline, world, store):
        world.accept("adt", message("a"))
        await world.channels["adt"].until(lambda: world.channels["adt"].acknowledged)
        await asyncio.wait_for(pipeline.stop(), 10)
        assert world.channels["adt"].calls[-1] == "close"
        assert sum((await counts(store)).values()) == 1
    said = {"hangs": "the queue strategy failed at the end: PluginTimeout", "raises": "replaced by batched", "stays": ""}
    assert said[mode] in caplog.text
    assert CANARY not in caplog.text


class Faulty:
    """Fails in every hook that sees messages."""

    @hookimpl
    def medagent_messages_accepted(self, messages: Sequence[InboundMessage]) -> None:
        raise RuntimeError(repr(messages[0].body))

    @hookimpl
    def medagent_messages_settled(self, settled: Sequence[object]) -> None:
        raise RuntimeError(CANARY)


class Censor:
    """Its transforms cannot be made until `works` is set."""

    works = False

    @hookimpl
    def medagent_make_transform(self, channel: ChannelConfig) -> Callable[[str], str] | None:
        if channel.name != "adt":
            return None
        if not self.works:
            raise RuntimeError(CANARY)
        return str.upper


async def test_no_message_goes_past_a_transform_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transform, "MAKE_AGAIN_SECONDS", 0.1)
    censor = Censor()
    async with running(tmp_path, config("adt", "oru"), censor) as (pipeline, world, _):
        world.accept("adt", message("a", "secret"))
        await world.channels["adt"].until(lambda: world.channels["adt"].acknowledged)
        world.accept("oru", message("b", "open"))
        await world.server.until(lambda: world.server.transmitted)
        assert world.server.bodies == ["open"]
        censor.works = True
        await world.server.until(lambda: len(world.server.transmitted) > 1)
        assert world.server.bodies == ["open", "SECRET"]
        await pipeline.stop()
    assert CANARY not in caplog.text


class Filters:
    """Keeps from the server what the channel's parameter `without` says, and marks the rest."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self.asked: list[str] = []

    @hookimpl
    def medagent_make_transform(self, channel: ChannelConfig) -> Callable[[str], str | None] | None:
        without = channel.parameters.get("without")

        def transform(text: str) -> str | None:
            self.asked.append(text)
            return None if text == f"body of {without}" else text + self.mark

        return transform if without is not None else None


async def test_transforms_of_several_plugins_filter_and_follow_a_reload(tmp_path: Path) -> None:
    def without(name: str) -> AgentConfig:
        parameters = {"without": name}
        return AgentConfig(
            "a-1", "Test", channels=(ChannelConfig("adt", "test", "127.0.0.1", 1, "test://127.0.0.1:1", parameters),)
        )

    first, second = Filters("1"), Filters("2")
    async with running(tmp_path, without("a"), second, first) as (pipeline, world, store):
        world.accept("adt", message("a"), message("b"))
        await world.server.until(lambda: world.server.transmitted)
        assert world.server.bodies == ["body of b12"]
        assert second.asked == ["body of b1"]
        assert ("settled", "adt", ["a FILTERED"]) in world.observed
        await pipeline.reconfigure(without("b"), {})
        world.accept("adt", message("b", "body of b", link="c2"), message("c"), message("d", "body of b"))
        await world.server.until(lambda: len(world.server.transmitted) == 2)
        assert world.server.bodies[1:] == ["body of c12"]
        world.server.answer(*world.server.transmitted)
        await pipeline.stop()
        assert await counts(store) == {State.FILTERED: 2, State.RESPONSE_SENT: 2}
        assert [(one.control_id, answer.body) for one, answer in world.channels["adt"].answers][:2] == [("a", ""), ("d", "")]


async def test_no_message_content_is_in_any_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with running(tmp_path, config("adt", "oru"), Faulty()) as (pipeline, world, store):
        adt = world.channels["adt"]
        adt.poison = {f"{CANARY} poison".encode()}
        adt.failing = {"committed", "answer", "refused"}
        bodies = [f"{CANARY} {number}" for number in range(4)]
        world.accept("adt", *(message(body, body) for body in bodies), message("p", f"{CANARY} poison"))
        await world.server.until(lambda: len(world.server.transmitted) >= 4)
        well, refused, busy, failed = world.server.transmitted
        world.server.answer(well, body=CANARY)
        world.server.answer(refused, status_code=400, body=CANARY)
        world.server.answer(busy, status_code=503, body=CANARY)
        pipeline.dispatcher.failed(f"cannot parse {CANARY}")
        world.server.answer(failed)
        world.server.disconnect()
        world.accept("adt", message(CANARY, CANARY * 300_000))
        await pipeline.stop()
        assert sum((await counts(store)).values()) == 5
    assert len(caplog.records) > 5
    assert not [record.getMessage() for record in caplog.records if "CANARY" in record.getMessage()]
    assert "CANARY" not in caplog.text
