"""Plugins of strangers: whatever is wrong with one, the others work and the reason is told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
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

GOOD = """
from medagent import hookimpl
from medagent.config.settings import Setting

@hookimpl
def medagent_register_settings(registry):
    registry.add_setting(Setting("labColour", str, "blue", "Colour of the laboratory."))

@hookimpl
def medagent_health(agent):
    return [("laboratory", True, "")]
"""

BAD = {
    "import_error": "import a_module_that_is_nowhere",
    "exits_at_import": "import sys; sys.exit('goodbye')",
    "syntax_error": "def (",
    "unknown_hook": """
from medagent import hookimpl

@hookimpl
def medagent_start_up(agent): ...
""",
    "unknown_argument": """
from medagent import hookimpl

@hookimpl
def medagent_health(agent, colour): ...
""",
    "takes_a_setting": """
from medagent import hookimpl
from medagent.config.settings import Setting

@hookimpl
def medagent_register_settings(registry):
    registry.add_setting(Setting("halfDone", str, "", "Must be gone with its plugin."))
    registry.add_setting(Setting("batchSize", int, 5, "Taken."))
""",
    "takes_a_scheme": """
from medagent import hookimpl

@hookimpl
def medagent_register_channel_types(register):
    register("half", print)
    register("zz_lab", print)
""",
    "exits_in_a_hook": """
import sys
from medagent import hookimpl

@hookimpl
def medagent_register_settings(registry):
    sys.exit(3)
""",
}

LAB = """
from medagent import hookimpl

@hookimpl
def medagent_register_channel_types(register):
    register("zz_lab", print)
"""


def install(folder: Path, name: str, source: str, module: str = "") -> None:
    """As an installer leaves it: a module, and a `.dist-info` folder beside it."""
    module = module or f"plugin_{name}"
    (folder / f"{module}.py").write_text(source)
    info = folder / f"medagent_{name}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: medagent-{name.replace('_', '-')}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[medagent]\n{name} = {module}\n")


def run_plugins(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medagent", *arguments],
        env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_bad_ones_are_left_out_with_the_reason_and_the_rest_works(tmp_path: Path) -> None:
    for name, source in BAD.items():
        install(tmp_path, name, source)
    install(tmp_path, "aa_lab", LAB)
    install(tmp_path, "zz_good", GOOD)
    (tmp_path / "medagent_broken-0.dist-info").mkdir()
    (tmp_path / "medagent_broken-0.dist-info" / "entry_points.txt").write_text("[medagent]\nnowhere = nowhere:nothing\n")
    done = run_plugins(tmp_path, "plugins", "--format", "json")
    assert done.returncode == 0, done.stderr
    infos = {info["name"]: info for info in json.loads(done.stdout)}
    reasons = {name: infos[name]["error"] for name in [*BAD, "nowhere"]}
    expected = {
        "import_error": "a_module_that_is_nowhere",
        "exits_at_import": "SystemExit: goodbye",
        "syntax_error": "SyntaxError",
        "unknown_hook": "medagent_start_up",
        "unknown_argument": "colour",
        "takes_a_setting": "batchSize",
        "takes_a_scheme": "zz_lab",
        "exits_in_a_hook": "cannot be used: 3",
        "nowhere": "nowhere",
    }
    for name, words in expected.items():
        assert words in reasons[name], name
        assert name in done.stderr, "it is logged too"
        assert infos[name]["hooks"] == []
    for name in ("config", "queue", "uplink", "zz_good", "aa_lab"):
        assert infos[name]["error"] == ""
    good = infos["zz_good"]
    assert (good["version"], good["origin"]) == ("1.5", "medagent-zz-good 1.5")
    assert good["hooks"] == ["medagent_health", "medagent_register_settings"]


def test_a_strangers_name_does_not_push_out_a_built_in_plugin(tmp_path: Path) -> None:
    install(tmp_path, "queue", GOOD, module="not_the_queue")
    done = run_plugins(tmp_path, "plugins", "--format", "json")
    built_in, stranger = (info for info in json.loads(done.stdout) if info["name"] == "queue")
    assert (built_in["origin"], built_in["error"]) == ("built in", "")
    assert "medagent_make_queue_store" in built_in["hooks"]
    assert "another plugin has this name" in stranger["error"]


COMMANDS = """
import typer
from medagent import hookimpl

def broken(argument: 'imported_for_type_checking_only') -> None: ...

def greet() -> None:
    typer.echo("hello")

@hookimpl
def medagent_register_commands(app):
    group = typer.Typer()
    group.command("inner")(broken)
    app.command("broken")(broken)
    app.add_typer(group, name="broken-group")
    app.command("greet")(greet)
    raise RuntimeError("and then it fails")
"""


def test_a_command_that_cannot_be_built_harms_no_other(tmp_path: Path) -> None:
    install(tmp_path, "commands", COMMANDS)
    greeting = run_plugins(tmp_path, "greet")
    assert (greeting.returncode, greeting.stdout) == (0, "hello\n"), greeting.stderr
    assert greeting.stderr.count("a plugin's command is left out") == 2
    assert run_plugins(tmp_path, "--version").returncode == 0


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
    assert plugins.call_first("medagent_health", agent=None) in ("first", "last")


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
    with pytest.raises(PluginError, match="the scheme mine is already taken"):
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
            registry.add_setting(Setting("halfDone", str, "", "Fine."))
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
