"""Channels under supervision: tried again until they listen, and their faults contained."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from medagent import supervisor as supervisor_module
from medagent.config.model import ChannelConfig
from medagent.guard import Guard, StoppedPlugin
from medagent.guard.breaker import FAULTS_IN_A_ROW
from medagent.supervisor import HostedChannel, Made, Supervisor
from medagent.testing.doubles import Clock, RecordingChannel
from medagent.testing.queue import message
from medagent.types import Answer, Delivery, Refusal, RefusalKind

CONFIG = ChannelConfig("adt", "test", "127.0.0.1", 1, "test://127.0.0.1:1")


def hosted(channel: RecordingChannel) -> HostedChannel:
    return HostedChannel(CONFIG, channel)


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_RETRY", 0.001)
    monkeypatch.setattr(supervisor_module, "CLOSE_TIMEOUT", 0.01)


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("fault", ["bind", "plugin"])
async def test_a_channel_is_tried_until_it_listens(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    channel = RecordingChannel()
    channel.bind_failures = 10**6 if fault == "bind" else 0
    channel.failing = {"start"} if fault == "plugin" else set()
    host = hosted(channel)
    supervisor = Supervisor({"adt": host})
    supervisor.start()
    assert host.state == "starting"
    while len(channel.calls) < 4:
        await asyncio.sleep(0.001)
    assert host.state == "waiting"
    assert host.reason == ("the port is taken" if fault == "bind" else "start: RuntimeError")
    assert len([record for record in caplog.records if "cannot listen" in record.getMessage()]) == 1, "said once"
    channel.bind_failures, channel.failing = 0, set()
    while host.state != "listening":
        await asyncio.sleep(0.001)
    assert host.reason == ""
    await supervisor.stop_accepting()
    await supervisor.close()
    assert host.state == "stopped"
    assert channel.calls[-2:] == ["stop_accepting", "close"]


async def test_a_channel_that_the_configuration_bars_is_never_told_to_listen(caplog: pytest.LogCaptureFixture) -> None:
    channel, other = RecordingChannel(), RecordingChannel()
    host = HostedChannel(replace(CONFIG, barred="alow: unknown parameter; did you mean allow?"), channel)
    supervisor = Supervisor({"adt": host, "lab": hosted(other)})
    supervisor.start()
    await other.until(lambda: "start" in other.calls)
    assert host.state == "waiting"
    assert "alow: unknown parameter; did you mean allow?" in host.reason
    assert "channel adt does not listen: alow: unknown parameter" in caplog.text
    await supervisor.stop_accepting()
    await supervisor.close()
    assert "start" not in channel.calls


class NoticingChannel(RecordingChannel):
    counts: Mapping[str, int] | None = MappingProxyType({"message too long": 2})

    @property
    def notices(self) -> Mapping[str, int]:
        if self.counts is None:
            raise RuntimeError("of the plugin")
        return self.counts


async def test_notices_of_a_channel_that_has_some() -> None:
    assert hosted(RecordingChannel()).notices == {}
    channel = NoticingChannel()
    host = hosted(channel)
    assert host.notices == {"message too long": 2}
    channel.counts = None
    assert host.notices == {}
    assert host.faults == 1


@pytest.mark.usefixtures("_fast")
async def test_back_off_doubles_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = RecordingChannel()
    channel.bind_failures = 8
    delays: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        delays.append(seconds)
        await sleep(0)

    monkeypatch.setattr(supervisor_module, "FIRST_RETRY", 0.5)
    monkeypatch.setattr(asyncio, "sleep", note)
    await hosted(channel).start()
    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


@pytest.mark.usefixtures("_fast")
async def test_one_that_cannot_listen_holds_up_neither_the_others_nor_the_end() -> None:
    bad, good = RecordingChannel(), RecordingChannel()
    bad.failing = {"start", "stop_accepting", "close"}
    hosts = [hosted(bad), hosted(good)]
    supervisor = Supervisor({str(number): host for number, host in enumerate(hosts)})
    supervisor.start()
    await good.until(lambda: "start" in good.calls)
    await asyncio.wait_for(supervisor.stop_accepting(), 5)
    await asyncio.wait_for(supervisor.close(), 5)
    assert good.calls == ["start", "stop_accepting", "close"]
    assert [host.state for host in hosts] == ["stopped", "stopped"]
    assert hosts[0].faults == 3


@pytest.mark.usefixtures("_fast")
async def test_a_channel_that_does_not_close_is_left_behind() -> None:
    class Stuck(RecordingChannel):
        async def close(self) -> None:
            await asyncio.Event().wait()

    host = hosted(Stuck())
    await asyncio.wait_for(host.close(), 5)
    assert host.state == "stopped"


async def test_a_fault_in_any_method_is_contained(caplog: pytest.LogCaptureFixture) -> None:
    channel = RecordingChannel()
    channel.failing = {"committed", "refused", "answer", "pause_reading", "resume_reading", "connections", "address"}
    host = hosted(channel)
    one, two = message("canary"), message("b")
    host.committed([one])
    host.refused([one], Refusal(RefusalKind.STORAGE, "full"))
    assert host.answer([(one, Answer(True, "")), (two, Answer(True, ""))]) == [Delivery.GONE, Delivery.GONE]
    host.pause_reading()
    host.resume_reading()
    assert host.connections == 0
    assert host.address == ""
    assert host.faults == 7
    for _ in range(3):
        host.committed([one])
    assert len(caplog.records) == 7, "a line for each method, not for each fault"
    assert "canary" not in caplog.text


@pytest.mark.parametrize("given", [None, [], [Delivery.SENT], [Delivery.SENT] * 3, ["sent", "sent"]])
async def test_an_answer_that_makes_no_sense_counts_as_undelivered(given: object) -> None:
    class Odd(RecordingChannel):
        def answer(self, answers: object) -> list[Delivery]:
            return given  # type: ignore[return-value]  # that is the point

    host = hosted(Odd())
    assert host.answer([(message("a"), Answer(True, "")), (message("b"), Answer(True, ""))]) == [Delivery.GONE] * 2
    assert host.faults == 1


async def test_a_well_channel_is_passed_through() -> None:
    channel = RecordingChannel()
    host = hosted(channel)
    await host.start()
    assert (host.state, host.address, host.connections, host.content_type) == ("listening", "127.0.0.1:0", 1, "text/plain")
    one = message("a")
    assert host.forward(one) == "body of a"
    assert host.answer([(one, Answer(True, "ACK"))]) == [Delivery.SENT]


def test_keys_are_asked_of_channels_that_have_them_and_faults_are_no_key() -> None:
    channel = RecordingChannel(max_workers=5)
    host = hosted(channel)
    assert (host.max_workers, host.key(message("a", "x/1"))) == (5, "x")
    channel.failing = {"key"}
    assert host.key(message("a", "x/1")) == ""
    assert host.faults == 1


def test_a_key_that_is_no_text_is_none() -> None:
    class Odd(RecordingChannel):
        def key(self, message: object) -> str:
            return 17  # type: ignore[return-value]

    assert hosted(Odd(max_workers=5)).key(message("a")) == ""


async def test_a_channel_that_cannot_say_how_many_keys_it_works_on_has_as_many_as_before() -> None:
    factory = Factory()
    supervisor = Supervisor({})
    host = factory.host(supervisor)
    factory.made[0].max_workers = 5
    assert host.max_workers == 5
    fail(host)
    assert host.max_workers == 5, "without its keys' lines, messages would go beside others of their key"
    await supervisor.end(host)
    unknown = hosted(RecordingChannel())
    unknown.hosted.max_workers = "many"  # type: ignore[attr-defined]
    assert unknown.max_workers == 1, "of which nobody knows whether it has keys"


def test_nonsense_for_the_status_is_counted_and_closes_no_channel() -> None:
    class Odd(RecordingChannel):
        def connections(self) -> int:  # type: ignore[override]
            return 1

        address = None  # type: ignore[assignment]

    host = hosted(Odd())
    for _ in range(2 * FAULTS_IN_A_ROW):
        assert (host.connections, host.address) == (0, "")
    assert host.faults == 4 * FAULTS_IN_A_ROW
    assert not host.guard.stopped


def test_a_channel_without_keys_has_no_workers() -> None:
    channel = RecordingChannel()
    del channel.max_workers
    assert hosted(channel).max_workers == 0


class ChangingChannel(RecordingChannel):
    """Takes other parameters, but for those that it refuses."""

    refused: ChannelConfig | None = None
    config: ChannelConfig | None = None

    def reconfigure(self, config: ChannelConfig) -> bool:
        self._maybe_fail("reconfigure")
        if config is self.refused:
            return False
        self.config = config
        return True


def test_a_channel_takes_other_parameters_if_it_can() -> None:
    channel = ChangingChannel()
    host = hosted(channel)
    taken, refused = replace(CONFIG, parameters={"size": 1}), replace(CONFIG, parameters={"size": 2})
    channel.refused = refused
    assert host.reconfigure(taken)
    assert not host.reconfigure(refused)
    assert host.config is channel.config is taken
    channel.failing = {"reconfigure"}
    assert not host.reconfigure(CONFIG)
    assert (host.config, host.faults) == (taken, 1)
    assert not hosted(RecordingChannel()).reconfigure(taken), "it has no such method"


@pytest.mark.parametrize(
    "change",
    [{"name": "b"}, {"scheme": "b"}, {"host": "127.0.0.2"}, {"port": 2}, {"barred": "alow"}],
    ids=lambda change: str(change),
)
def test_another_place_or_a_bar_takes_another_channel(change: dict[str, Any]) -> None:  # fields of ChannelConfig
    channel, other = ChangingChannel(), replace(CONFIG, **change)
    assert not hosted(channel).reconfigure(other)
    assert HostedChannel(other, channel).reconfigure(CONFIG) is False
    assert channel.config is None


class Factory:
    """Makes channels of which the first `bad` fail in `method`."""

    def __init__(self, method: str = "committed", bad: int = 1) -> None:
        self.made: list[RecordingChannel] = []
        self._method = method
        self._bad = bad
        self.down: list[HostedChannel] = []
        self.clock = Clock()

    def __call__(self, config: ChannelConfig) -> Made:
        channel = RecordingChannel()
        if len(self.made) < self._bad:
            channel.failing = {self._method}
        self.made.append(channel)
        return Made(channel)

    def host(self, supervisor: Supervisor, **others: Any) -> HostedChannel:  # as `HostedChannel` takes them
        guard = Guard("lab-plugin", "channel adt", clock=self.clock)
        return HostedChannel(CONFIG, self(CONFIG).channel, guard=guard, make=self, went_down=supervisor.revive, **others)


def fail(host: HostedChannel) -> None:
    for _ in range(FAULTS_IN_A_ROW):
        host.committed([message("a")])


@pytest.mark.usefixtures("_fast")
async def test_a_channel_that_goes_on_failing_is_closed_and_made_anew() -> None:
    hosts: dict[str, HostedChannel] = {}
    supervisor, factory, other = Supervisor(hosts), Factory(), RecordingChannel()
    host = hosts["adt"] = factory.host(supervisor)
    hosts["lab"] = hosted(other)
    supervisor.start()
    await factory.made[0].until(lambda: host.state == "listening")
    host.pause_reading()
    fail(host)
    assert (host.state, "committed: RuntimeError" in host.reason) == ("waiting", True)
    assert host.answer([(message("a"), Answer(True, ""))]) == [Delivery.GONE]
    with pytest.raises(StoppedPlugin):
        host.forward(message("a"))
    await factory.made[0].until(lambda: "close" in factory.made[0].calls)
    assert factory.made[0].calls == ["start", "stop_accepting", "close"]
    factory.clock.now += 10
    while host.state != "listening":
        await asyncio.sleep(0.001)
    assert host.hosted is factory.made[1]
    assert factory.made[1].paused == [True], "what held the old one back holds the new one"
    host.committed([message("b")])
    assert [one.control_id for one in factory.made[1].acknowledged] == ["b"]
    assert other.calls == ["start"]
    await supervisor.stop_accepting()
    await supervisor.close()


@pytest.mark.usefixtures("_fast")
async def test_an_agent_that_ends_meanwhile_closes_it_and_makes_no_other() -> None:
    hosts: dict[str, HostedChannel] = {}
    supervisor, factory = Supervisor(hosts), Factory()
    host = hosts["adt"] = factory.host(supervisor)
    await host.start()
    fail(host)
    await supervisor.stop_accepting()
    await supervisor.close()
    assert factory.made[0].calls.count("close") == 1
    assert len(factory.made) == 1
    assert host.state == "stopped"


async def test_one_that_is_ended_is_not_made_anew() -> None:
    hosts: dict[str, HostedChannel] = {}
    supervisor, factory = Supervisor(hosts), Factory()
    host = factory.host(supervisor)
    await host.start()
    fail(host)
    await supervisor.end(host)
    factory.clock.now += 10
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert factory.made[0].calls[-1] == "close"
    assert host.state == "stopped"


@pytest.mark.usefixtures("_fast")
async def test_one_that_is_off_is_off_again() -> None:
    hosts: dict[str, HostedChannel] = {}
    supervisor, factory = Supervisor(hosts), Factory()
    host = hosts["adt"] = factory.host(supervisor, off="the Endpoint is off")
    fail(host)
    assert host.state == "waiting"
    factory.clock.now += 10
    while host.state != "off":
        await asyncio.sleep(0.001)
    assert (host.reason, factory.made[1].calls) == ("the Endpoint is off", [])


async def test_what_fails_on_the_way_to_the_server_keeps_no_device_out() -> None:
    factory = Factory("forward")
    host = factory.host(Supervisor({}))
    await host.start()
    for _ in range(FAULTS_IN_A_ROW):
        with pytest.raises(RuntimeError):
            host.forward(message("a"))
    with pytest.raises(StoppedPlugin):
        host.forward(message("a"))
    assert host.state == "listening"
    host.committed([message("a")])
    assert len(factory.made[0].acknowledged) == 1


async def test_a_key_is_asked_of_a_channel_that_is_down_too() -> None:
    factory = Factory()
    host = factory.host(Supervisor({}))
    fail(host)
    assert host.key(message("a", "x/1")) == "x", "or it would go beside others of its key"
