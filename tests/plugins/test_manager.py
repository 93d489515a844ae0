"""What one agent's plugins have registered, and how they are called."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from medagent import hookimpl
from medagent.awaiting import awaited
from medagent.channel import ChannelFactory
from medagent.config.settings import Registry, Setting
from medagent.errors import PluginError
from medagent.plugins import Plugins
from medagent.sender import SenderFactory
from medagent.uplink.base import ServerRequest


class Observer:
    """A plugin object."""

    def __init__(self, act: Callable[[], Any]) -> None:  # what a hook returns is its own affair
        self._act = act

    @hookimpl
    def medagent_health(self) -> Any:  # as above
        return self._act()


def leave() -> None:
    raise SystemExit(3)


def test_each_implementation_is_called_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    plugins = Plugins(entry_points=False)
    plugins.register(Observer(lambda: "first"), "first")
    plugins.register(Observer(lambda: int("canary")), "raises")
    plugins.register(Observer(leave), "leaves")
    plugins.register(Observer(lambda: "last"), "last")
    results = plugins.call_each("medagent_health", agent=None)
    assert sorted(results) == [("first", "first"), ("last", "last")]
    assert [record.getMessage() for record in caplog.records] == [
        "plugin leaves failed in medagent_health: SystemExit",
        "plugin raises failed in medagent_health: ValueError",
    ]
    assert next(result for _, result in plugins.call_each("medagent_health", agent=None)) in ("first", "last")


def test_two_agents_in_one_process_never_meet() -> None:
    one, two = Plugins(entry_points=False), Plugins(entry_points=False)
    one.register(Observer(lambda: None), "mine")
    assert one.implements("medagent_health")
    assert not two.implements("medagent_health")


def test_a_refused_plugin_leaves_nothing_behind() -> None:
    class Greedy:
        @hookimpl
        def medagent_register_settings(self, registry: Registry) -> None:
            registry.add_setting(Setting("mine", str, "", "Fine."))

        @hookimpl
        def medagent_register_channel_types(self, register: Callable[[str, ChannelFactory], None]) -> None:
            register("mine", lambda context: None)  # type: ignore[arg-type,return-value]  # never called
            register("mine", lambda context: None)  # type: ignore[arg-type,return-value]  # never called

        @hookimpl
        def medagent_register_sender_types(self, register: Callable[[str, SenderFactory], None]) -> None:
            register("mine", lambda context: None)  # type: ignore[arg-type,return-value]  # never called

        @hookimpl
        def medagent_health(self) -> None: ...

    plugins = Plugins(entry_points=False)
    before = [setting.name for setting in plugins.registry.settings()]
    with pytest.raises(PluginError, match="plugin greedy cannot be used: the scheme mine is already taken"):
        plugins.register(Greedy(), "greedy")
    assert [setting.name for setting in plugins.registry.settings()] == before
    assert plugins.schemes == frozenset()
    assert plugins.sender_types.factories == {}
    assert not plugins.implements("medagent_health")
    assert "greedy" not in [info.name for info in plugins.infos]


def test_a_refused_plugins_settings_go_with_it() -> None:
    class Half:
        @hookimpl
        def medagent_register_settings(self, registry: Registry) -> None:
            registry.add_setting(Setting("halfDone", str, "", "Fine.", declared_by="config"))
            registry.add_setting(Setting("batchSize", int, 5, "Taken."))

    plugins = Plugins(entry_points=False)
    with pytest.raises(PluginError, match="batchSize is already declared by config"):
        plugins.register(Half(), "half")
    assert plugins.registry.setting("halfDone") is None
    declared = plugins.registry.setting("batchSize")
    assert declared is not None
    assert declared.declared_by == "config"


def test_a_name_can_be_used_once() -> None:
    plugins = Plugins(entry_points=False)
    plugins.register(Observer(lambda: "first"), "name")
    with pytest.raises(PluginError, match="another plugin has this name"):
        plugins.register(Observer(lambda: "second"), "name")
    assert plugins.call_each("medagent_health", agent=None) == [("name", "first")]


async def leave_later() -> None:
    raise SystemExit(3)


async def give_up() -> None:
    raise asyncio.CancelledError


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("what", "why"), [(leave_later, "sys.exit"), (give_up, "cancelled itself"), (hang, "more than")])
async def test_what_a_hook_returned_cannot_end_more_than_itself(what: Callable[[], Awaitable[None]], why: str) -> None:
    with pytest.raises(PluginError, match=why):
        await awaited(what(), 0.01 if what is hang else 5.0)


async def test_plugins_are_asked_to_serve_one_after_the_other(caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    class Server:
        def __init__(self, name: str, answer: object) -> None:
            self.name, self.answer = name, answer

        @hookimpl
        async def medagent_handle_frame(self) -> object:
            asked.append(self.name)
            await asyncio.sleep(0)
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer

    plugins = Plugins(entry_points=False)
    for name, answer in {"last": True, "serves": True, "leaves": SystemExit("CANARY"), "fails": ValueError("CANARY")}.items():
        plugins.register(Server(name, answer), name)
    plugins.register(Server("declines", None), "declines")
    frame = ServerRequest("agent:x:request", None, {})
    assert await plugins.served("medagent_handle_frame", agent=None, frame=frame)
    assert asked == ["declines", "fails", "leaves", "serves"]
    assert "plugin fails failed in medagent_handle_frame: ValueError" in caplog.text
    assert "CANARY" not in caplog.text


async def test_what_a_hook_returned_may_be_a_value_or_awaitable() -> None:
    async def later() -> str:
        return "later"

    assert await awaited("now") == "now"
    assert await awaited(later()) == "later"
