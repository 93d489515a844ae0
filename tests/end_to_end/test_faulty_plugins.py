"""A real agent with plugins that fail while it runs: each harms its own part, the others go on, and the status says so."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from medagent import agent, configure, hookimpl, transform
from medagent.admin import call
from medagent.channel import ChannelContext, ChannelFactory
from medagent.cli.main import make_app
from medagent.config.bootstrap import Bootstrap
from medagent.guard import breaker, guard, watchdog
from medagent.listening import TcpChannel, TcpConnection
from medagent.plugins import calls
from medagent.queue import guarded, hosted_store
from medagent.queue.base import ChannelDepth, QueueStrategy, StrategyContext
from medagent.queue.sqlite.store import SqliteStore
from medagent.testing.doubles import RecordingChannel
from medagent.testing.queue import message
from medagent.testing.site import Acknowledged, Site, adt
from medagent.types import InboundMessage
from medagent.uplink import hosted
from medagent.uplink.base import UplinkContext
from medagent.uplink.websocket import WebSocketUplink


def module_of(plugin: object) -> list[ModuleType]:
    """A module that has the hooks of an object, under the name of this one: it is in this file that its code lies."""
    module = ModuleType(__name__)
    for name in dir(plugin):
        if name.startswith("medagent_"):
            setattr(module, name, getattr(plugin, name))
    return [module]


# as decoded JSON
def faults(shown: dict[str, Any], where: str) -> dict[str, Any]:
    return next((each for each in shown["plugin_faults"] if each["where"] == where), {})


class Channels:
    """Channels that do nothing with a device; the first fails to acknowledge."""

    def __init__(self) -> None:
        self.made: list[RecordingChannel] = []

    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("odd", self.make)

    def make(self, context: ChannelContext) -> RecordingChannel:
        channel = RecordingChannel(context)
        channel.failing = {"committed"} if not self.made else set()
        self.made.append(channel)
        return channel

    def read(self, control_id: str) -> None:
        context = self.made[-1].context
        assert context is not None
        context.accept([message(control_id)])


async def test_a_channel_that_fails_is_made_anew_and_the_other_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FIRST_COOL_DOWN", 0.5)
    channels = Channels()
    async with Site(tmp_path, {"adt": "", "odd": "odd://127.0.0.1:1"}, plugins=module_of(channels)) as site:
        await site.start()
        for number in range(breaker.FAULTS_IN_A_ROW):
            channels.read(f"m{number}")
            while len(channels.made[0].acknowledged) <= number:
                await asyncio.sleep(0.001)
        shown = await site.until(lambda shown: shown["channels"][1]["state"] == "waiting")
        assert any("channel odd waiting: it is made anew" in reason for reason in shown["reasons"])
        assert await site.exchange(adt("A1")) == [Acknowledged("AA", "A1")]
        await site.until(lambda shown: shown["channels"][1]["state"] == "listening")
        channels.read("after")
        await channels.made[1].until(lambda: channels.made[1].acknowledged)
        await site.drained()
        shown = await site.status()
        [reason] = shown["reasons"]
        assert reason.startswith(f"plugin {__name__}, channel odd: committed: RuntimeError"), "it was so lately"
        monkeypatch.setattr(guard, "RECENT_SECONDS", 0.0)
        shown = await site.status()
        assert shown["state"] == "ok"
        assert faults(shown, "channel odd")["faults"] == breaker.FAULTS_IN_A_ROW
        assert shown["channels"][1]["faults"] == breaker.FAULTS_IN_A_ROW


class Lines(TcpConnection):
    """A message a line; some are handled wrong."""

    def received(self, data: bytes) -> None:
        if b"bad" in data:
            raise KeyError(data)
        self.accept([self.message(line, line.decode()) for line in data.split()])


class LineChannel(TcpChannel[Lines]):
    content_type = "text/plain"

    def make_connection(self) -> Lines:
        return Lines(self)

    def forward(self, message: InboundMessage) -> str:
        return (message.body or b"").decode()

    def when_committed(self, message: InboundMessage) -> bytes:
        return b"stored\n"


class LinePlugin:
    @hookimpl
    def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
        register("tcplines", LineChannel)


async def told(address: str, data: bytes, host: str) -> bytes:
    """What a device at `host` is told after it has sent `data`."""
    to, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(to, int(port), local_addr=(host, 0))
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()


async def test_what_reading_raises_is_a_fault_and_one_device_cannot_cut_the_others_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(breaker, "FIRST_COOL_DOWN", 0.5)
    async with Site(tmp_path, {"bed": "tcplines://127.0.0.1:0"}, plugins=module_of(LinePlugin())) as site:
        await site.start()
        address = (await site.status())["channels"][0]["address"]
        for _ in range(breaker.FAULTS_IN_A_ROW + 1):
            assert await told(address, b"bad MRN^4711", "127.0.0.1") == b""
        shown = await site.status()
        place = "KeyError at tests/end_to_end/test_faulty_plugins.py:"
        assert faults(shown, "channel bed")["faults"] == breaker.FAULTS_IN_A_ROW + 1
        assert place in faults(shown, "channel bed")["last_fault"]
        assert (shown["state"], shown["channels"][0]["state"]) == ("degraded", "listening"), "one device alone"
        assert f"plugin {__name__}, channel bed: received: {place}" in "; ".join(shown["reasons"])
        assert await told(address, b"m1\n", "127.0.0.2") == b"stored\n"
        await told(address, b"bad", "127.0.0.2")
        assert (await site.status())["channels"][0]["state"] == "listening", "one has gone well between them"
        for host in ("127.0.0.1", "127.0.0.2") * breaker.FAULTS_IN_A_ROW:
            try:
                await told(address, b"bad", host)
            except OSError:  # it is closed already
                break
        shown = await site.until(lambda shown: shown["channels"][0]["state"] == "waiting")
        assert len([reason for reason in shown["reasons"] if "channel bed" in reason]) == 1, "it is said once"
        shown = await site.until(lambda shown: shown["channels"][0]["state"] == "listening")
        assert await told(shown["channels"][0]["address"], b"m2\n", "127.0.0.2") == b"stored\n"
        assert "4711" not in caplog.text


class NotReady:
    """What it does at the start fails."""

    broken = True

    @hookimpl
    def medagent_startup(self) -> None:
        raise KeyError("4711")

    @hookimpl
    def medagent_make_transform(self) -> object:
        if self.broken:
            raise ValueError("4711")
        return str.upper


async def test_what_fails_at_the_start_degrades_the_agent_for_as_long_as_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "RECENT_SECONDS", 0.0)
    monkeypatch.setattr(transform, "MAKE_AGAIN_SECONDS", 0.01)
    plugin = NotReady()
    async with Site(tmp_path, {"adt": "?enhanced=true"}, plugins=module_of(plugin)) as site:
        await site.start()
        assert await site.exchange(adt("A1")) == [Acknowledged("CA", "A1")]
        startup, made = sorted((await site.status())["reasons"], key=lambda reason: "transform" in reason)
        assert startup.startswith(f"plugin {__name__}, medagent_startup: KeyError at tests/end_to_end/test_faulty_plugins.py:")
        assert startup.endswith(" in medagent_startup; the agent goes on without it")
        assert made.startswith(f"plugin {__name__}, transform of channel adt: the making: ValueError at tests/")
        assert made.endswith("the channel's messages wait until it can be made")
        plugin.broken = False
        await site.drained()
        assert (await site.status())["reasons"] == [startup]


class Blocking:
    """Blocks the event loop in a hook."""

    calls = 0

    @hookimpl
    def medagent_messages_accepted(self, channel: str) -> None:
        self.calls += 1
        time.sleep(0.5)


async def test_a_hook_that_blocks_the_loop_is_named_and_not_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "LOOK_SECONDS", 0.05)
    blocking = Blocking()
    async with Site(tmp_path, plugins=module_of(blocking)) as site:
        await site.start()
        await site.exchange(adt("A1"))
        shown = await site.until(lambda shown: faults(shown, "medagent_messages_accepted"))
        assert faults(shown, "medagent_messages_accepted")["stopped"]
        assert f"plugin {__name__}, medagent_messages_accepted: " in "; ".join(shown["reasons"])
        assert f"plugin {__name__} blocks the event loop at tests/end_to_end/test_faulty_plugins.py:" in caplog.text
        assert await site.exchange(adt("A2")) == [Acknowledged("AA", "A2")]
        assert blocking.calls == 1
        run = await asyncio.to_thread(CliRunner().invoke, make_app(), ["status", "--state-dir", str(tmp_path)])
        assert "medagent_messages_accepted" in run.stdout
        run = await asyncio.to_thread(
            CliRunner().invoke, make_app(), ["queue", "stats", "--format", "json", "--state-dir", str(tmp_path)]
        )
        assert '"plugin_faults"' in run.stdout


class Keeping:
    """A strategy that commits nothing."""

    def __init__(self) -> None:
        self.taken: list[InboundMessage] = []

    @hookimpl
    def medagent_make_queue_strategy(self, name: str, context: StrategyContext) -> QueueStrategy | None:
        return self if name == "keeping" else None

    def put(self, messages: Sequence[InboundMessage]) -> None:
        self.taken += messages

    async def flush(self) -> None: ...


async def test_a_strategy_that_commits_nothing_is_replaced_until_the_next_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "PATIENCE", 0.1)
    async with Site(tmp_path, settings={"queueStrategy": "keeping"}, plugins=module_of(Keeping())) as site:
        await site.start()
        assert await site.exchange(adt("A1")) == [Acknowledged("AA", "A1")]
        shown = await site.status()
        assert any("the queue strategy keeping is replaced by batched" in reason for reason in shown["reasons"])
        assert await site.exchange(adt("A2")) == [Acknowledged("AA", "A2")]
        assert not any(f"plugin {__name__}, queue strategy" in reason for reason in shown["reasons"]), "it is said once"
        await asyncio.to_thread(call, tmp_path, "reload")
        monkeypatch.setattr(guard, "RECENT_SECONDS", 0.0)
        assert (await site.status())["reasons"] == []
        await site.drained()
        await site.stop()
        assert [row.control_id for row in site.rows()] == ["A1", "A2"]


class Uplinks:
    """An uplink whose `run` ends at first."""

    @hookimpl
    def medagent_make_uplink(self, bootstrap: Bootstrap, context: UplinkContext) -> WebSocketUplink:
        assert context.tokens is not None
        return Ending(bootstrap.base_url, context.agent_id, context.tokens, context)


class Ending(WebSocketUplink):
    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            sys.exit(3)
        await super().run()


async def test_an_uplink_that_ends_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "FIRST_RETRY", 0.01)
    async with Site(tmp_path, plugins=module_of(Uplinks())) as site:
        await site.start()
        assert await site.exchange(adt("A1")) == [Acknowledged("AA", "A1")]
        assert faults(await site.status(), "uplink")["faults"] == 1


class Slow:
    """Never comes to an end in what it is asked for."""

    @hookimpl
    async def medagent_startup(self) -> None:
        await asyncio.Event().wait()

    @hookimpl
    async def medagent_handle_frame(self) -> bool:
        await asyncio.Event().wait()
        return True

    @hookimpl
    def medagent_make_queue_store(self) -> object:
        return object()

    @hookimpl
    def medagent_health(self) -> object:
        return self.medagent_handle_frame()  # a coroutine, where nobody waits for one


async def test_hooks_that_do_not_end_or_give_nonsense_keep_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "LIFE_SECONDS", 0.01)
    async with Site(tmp_path, plugins=module_of(Slow())) as site:
        await site.start()
        assert await site.exchange(adt("A1")) == [Acknowledged("AA", "A1")]
        shown = await site.until(lambda shown: faults(shown, "medagent_health"))
        assert faults(shown, "medagent_startup")["last_fault"] == "PluginTimeout"
        assert "lacks close, commit" in faults(shown, "medagent_make_queue_store")["last_fault"]
        assert "coroutine" in faults(shown, "medagent_health")["last_fault"]
        assert f"plugin {__name__}, medagent_health: it gives a coroutine" in "; ".join(shown["reasons"])


class Talking:
    """Gives the status what no JSON and no terminal can show, and never has enough of a configuration."""

    @hookimpl
    def medagent_metrics(self, registry: dict[str, float]) -> None:
        registry |= {"nan": math.nan, "endless": math.inf, "huge": 10**5000, "sound": 2.5}

    @hookimpl
    def medagent_health(self) -> list[tuple[str, bool, str]]:
        return [("printer", False, "\x1b[2Jout of paper\n")]

    @hookimpl
    def medagent_validate_config(self) -> None:
        HANGING.wait()


HANGING = threading.Event()


async def test_what_a_plugin_says_of_itself_or_a_configuration_keeps_nobody_from_knowing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configure, "VALIDATE_SECONDS", 0.1)
    try:
        async with Site(tmp_path, plugins=module_of(Talking())) as site:
            await site.start()
            shown = await site.status()
            printer, validation = shown["reasons"]
            assert printer == r"printer: \x1b[2Jout of paper\n"
            assert validation.startswith(f"plugin {__name__}, medagent_validate_config: PluginTimeout; ")
            assert shown["queue"]["plugins"] == {"sound": 2.5}
            assert faults(shown, "medagent_validate_config")["last_fault"] == "PluginTimeout"
    finally:
        HANGING.set()


class Stores:
    """A queue that does not answer any more once `hangs` is set."""

    hangs = False

    @hookimpl
    def medagent_make_queue_store(self, url: str) -> SqliteStore:
        return Hanging(self, Path(url.partition(":")[2]))


class Hanging(SqliteStore):
    def __init__(self, plugin: Stores, path: Path) -> None:
        super().__init__(path)
        self._plugin = plugin

    async def depths(self) -> dict[str, ChannelDepth]:
        if self._plugin.hangs:
            await asyncio.Event().wait()
        return await super().depths()


async def test_a_store_that_does_not_answer_is_told_and_keeps_nobody_from_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "STORE_SECONDS", 0.1)
    monkeypatch.setattr(hosted_store, "LONG_SECONDS", 0.05)
    stores = Stores()
    async with Site(tmp_path, plugins=module_of(stores)) as site:
        await site.start()
        assert await site.exchange(adt("A1")) == [Acknowledged("AA", "A1")]
        stores.hangs = True
        shown = await site.until(lambda shown: any("does not answer within" in reason for reason in shown["reasons"]))
        assert shown["state"] == "degraded"
        stores.hangs = False
        await site.drained()
