"""Plugins of strangers, installed as distributions: whatever is wrong with one, the others work and the reason is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medagent.testing.command_line import run_main
from medagent.testing.distribution import environ_with, install
from medagent.testing.resources import agent_resource

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

LAB = """
from medagent import hookimpl

@hookimpl
def medagent_register_channel_types(register):
    register("zz-lab", print)
"""

HOOKIMPL = "from medagent import hookimpl\n\n@hookimpl\n"

BAD = {
    "import_error": (
        "import a_module_that_is_nowhere",
        "ModuleNotFoundError: No module named 'a_module_that_is_nowhere' at plugin_import_error.py:1 in <module>",
    ),
    "exits_at_import": ("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
    "cancels": ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
    "raises_its_own": ("class Odd(BaseException): ...\nraise Odd('of\\nmany\\x1b lines')", r"Odd: of many\\x1b lines"),
    "raises_what_has_no_text": (
        "class Odd(Exception):\n    def __str__(self):\n        return self.licence\nraise Odd",
        "Odd: ",
    ),
    "syntax_error": ("def (", "SyntaxError"),
    "unknown_hook": (
        HOOKIMPL + "def medagent_start_up(agent): ...",
        "medagent_start_up is no hook; did you mean medagent_startup",
    ),
    "unknown_argument": (
        HOOKIMPL + "def medagent_health(agent, colour): ...",
        "medagent_health has no argument colour; it has agent",
    ),
    "wraps": (
        "from medagent import hookimpl\n\n@hookimpl(wrapper=True)\ndef medagent_health(agent):\n    return (yield)",
        "medagent_health wraps",
    ),
    "yields": (HOOKIMPL + "def medagent_validate_config(config):\n    yield", "medagent_validate_config has a yield"),
    "registers_later": (
        HOOKIMPL + "async def medagent_register_settings(registry): ...",
        "medagent_register_settings is async def",
    ),
    "observes_later": (HOOKIMPL + "async def medagent_messages_accepted(messages): ...", "medagent_messages_accepted is async"),
    "returns_later": (
        "async def later(): ...\n\n" + HOOKIMPL + "def medagent_register_settings(registry):\n    return later()",
        "medagent_register_settings has returned a coroutine",
    ),
    "returns_a_dict": (
        HOOKIMPL + "def medagent_register_channel_types(register):\n    return {'lab': print}",
        "medagent_register_channel_types has returned a dict: it must call",
    ),
    "no_scheme": (HOOKIMPL + "def medagent_register_channel_types(register): register(7, print)", "7 is no URL scheme"),
    "no_factory": (HOOKIMPL + "def medagent_register_sender_types(register): register('x', 'y')", "is a str, which cannot be"),
    "no_setting": (HOOKIMPL + "def medagent_register_settings(registry): registry.add_setting('x')", "AttributeError"),
    "takes_a_setting": (
        "from medagent.config.settings import Setting\n" + HOOKIMPL + "def medagent_register_settings(registry):\n"
        "    registry.add_setting(Setting('halfDone', str, '', 'Must be gone with its plugin.'))\n"
        "    registry.add_setting(Setting('batchSize', int, 5, 'Taken.'))",
        "setting batchSize is already declared by config",
    ),
    "takes_a_scheme": (
        HOOKIMPL + "def medagent_register_channel_types(register):\n    register('half', print)\n    register('zz-lab', print)",
        "the scheme zz-lab is already taken",
    ),
    "exits_in_a_hook": (
        "import sys\n" + HOOKIMPL + "def medagent_register_settings(registry):\n    sys.exit(3)",
        "SystemExit: 3 at plugin_exits_in_a_hook.py:6 in medagent_register_settings",
    ),
}
"""By name: the plugin's module, and words of the reason."""


# decoded JSON
def plugins_in(folder: Path, *arguments: str, **environ: str) -> tuple[dict[str, Any], str]:
    """What `medagent plugins --format json` says, by name, and what it logs."""
    done = run(folder, "plugins", "--format", "json", *arguments, **environ)
    assert done.returncode == 0, done.stderr
    return {info["name"]: info for info in json.loads(done.stdout)}, done.stderr


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "medagent", *arguments],
        env=environ_with(folder) | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_bad_ones_are_left_out_with_the_reason_and_the_rest_works(tmp_path: Path) -> None:
    for name, (source, _) in BAD.items():
        install(tmp_path, name, source)
    install(tmp_path, "aa_lab", LAB)
    install(tmp_path, "zz_good", GOOD + "print('noise')")
    infos, log = plugins_in(tmp_path)
    for name, (_, words) in BAD.items():
        assert re.search(words, infos[name]["error"]), (name, infos[name]["error"])
        assert (infos[name]["state"], infos[name]["hooks"]) == ("left out", [])
        assert f"plugin {name} (medagent-{name.replace('_', '-')} 1.5) is left out: " in log
    for name in ("config", "queue", "uplink", "zz_good", "aa_lab"):
        assert (infos[name]["state"], infos[name]["error"]) == ("loaded", "")
    good = infos["zz_good"]
    assert (good["version"], good["origin"], good["settings"]) == ("1.5", "medagent-zz-good 1.5", ["labColour"])
    assert good["hooks"] == ["medagent_health", "medagent_register_settings"]
    assert infos["aa_lab"]["schemes"] == ["zz-lab"]
    assert "never awaited" not in log


def spoil(folder: Path, name: str, file: str, content: bytes | None) -> None:
    """Install it, then change or remove a file of its metadata."""
    install(folder, name, GOOD)
    path = folder / f"medagent_{name}-1.5.dist-info" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def test_a_distribution_whose_metadata_is_broken_harms_no_other(tmp_path: Path) -> None:
    spoil(tmp_path, "not_utf_8", "entry_points.txt", b"[medagent]\nx\xff = y\n")
    spoil(tmp_path, "no_value", "entry_points.txt", b"[medagent]\nno_value\n")
    spoil(tmp_path, "no_module", "entry_points.txt", b"[medagent]\nno_module = not a module!\n")
    spoil(tmp_path, "no_attribute", "entry_points.txt", b"[medagent]\nno_attribute = plugin_no_attribute:nothing\n")
    spoil(tmp_path, "no_object", "entry_points.txt", b"[medagent]\nno_object = plugin_no_object:__doc__\n")
    spoil(tmp_path, "no_metadata", "METADATA", None)
    spoil(tmp_path, "other", "entry_points.txt", b"[console_scripts]\nx = y\n")
    infos, _ = plugins_in(tmp_path)
    assert "entry points cannot be read (UnicodeDecodeError" in infos["medagent-not-utf-8"]["error"]
    assert "entry points cannot be read" in infos["medagent-no-value"]["error"]
    assert "its entry point names no module: not a module!" in infos["no_module"]["error"]
    assert "has no attribute 'nothing'" in infos["no_attribute"]["error"]
    assert "plugin_no_object:__doc__ is None" in infos["no_object"]["error"]
    assert infos["no_metadata"]["state"] == "loaded"
    assert {"other", "medagent-other"} & infos.keys() == set()


def test_a_strangers_name_does_not_push_out_a_built_in_plugin(tmp_path: Path) -> None:
    install(tmp_path, "queue", "raise AssertionError('imported')", module="not_the_queue")
    done = run(tmp_path, "plugins", "--format", "json")
    built_in, stranger = (info for info in json.loads(done.stdout) if info["name"] == "queue")
    assert (built_in["origin"], built_in["error"]) == ("built in", "")
    assert "medagent_make_queue_store" in built_in["hooks"]
    assert stranger["error"] == "another plugin has this name (built in)"


def test_of_two_with_one_name_the_distribution_of_that_name_is_loaded(tmp_path: Path) -> None:
    install(tmp_path, "lab", GOOD, module="stranger", distribution="a-strangers")
    install(tmp_path, "lab", GOOD, module="owner")
    done = run(tmp_path, "plugins", "--format", "json")
    owner, stranger = (info for info in json.loads(done.stdout) if info["name"] == "lab")
    assert (owner["origin"], owner["state"]) == ("medagent-lab 1.5", "loaded")
    assert (stranger["origin"], stranger["error"]) == ("a-strangers 1.5", "another plugin has this name (medagent-lab 1.5)")
    done = run(tmp_path, "plugins", "--format", "json", "--block-plugins", "medagent_lab")
    states = {info["origin"]: info["state"] for info in json.loads(done.stdout) if info["name"] == "lab"}
    assert states == {"a-strangers 1.5": "loaded", "medagent-lab 1.5": "blocked"}


def test_of_what_is_left_out_no_module_stays(tmp_path: Path) -> None:
    package = tmp_path / "half"
    package.mkdir()
    (package / "__init__.py").write_text("import half.part, colorsys\nimport half.missing")
    (package / "part.py").write_text("")
    install(tmp_path, "half_package", "", module="unused")
    (tmp_path / "medagent_half_package-1.5.dist-info" / "entry_points.txt").write_text("[medagent]\nhalf = half\n")
    install(tmp_path, "refused", HOOKIMPL + "def medagent_start_up(): ...")
    program = "import sys; from medagent.plugins import Plugins; Plugins(); print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ_with(tmp_path), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.count("is left out") == 2
    modules = done.stdout.splitlines()
    assert "colorsys" in modules, "others' modules may be in use already"
    assert [name for name in modules if name.startswith(("half", "plugin_refused"))] == []


IMPORTED = "raise AssertionError('it was imported')"


def test_what_is_blocked_or_not_allowed_is_not_imported(tmp_path: Path) -> None:
    install(tmp_path, "blocked", IMPORTED)
    install(tmp_path, "other", IMPORTED)
    install(tmp_path, "good", GOOD)
    infos, log = plugins_in(tmp_path, "--allow-plugins", "good", MEDAGENT_BLOCK_PLUGINS="blocked, goood")
    states = {name: infos[name]["state"] for name in ("blocked", "other", "good", "hl7", "queue")}
    assert states == {"blocked": "blocked", "other": "not allowed", "good": "loaded", "hl7": "not allowed", "queue": "loaded"}
    assert infos["blocked"]["origin"] == "medagent-blocked 1.5"
    assert log == "block_plugins: no plugin goood is installed; did you mean good?\n"
    infos, log = plugins_in(tmp_path, MEDAGENT_ALLOW_PLUGINS="none")
    assert {info["name"] for info in infos.values() if info["state"] == "loaded"} == {"config", "queue", "requests", "uplink"}
    assert log == ""


def test_the_files_that_the_environment_names_count_for_every_command(tmp_path: Path) -> None:
    install(tmp_path, "commands", COMMANDS)
    (tmp_path / "medagent.toml").write_text("allow_plugins = ['good']")
    done = run(tmp_path, "greet", MEDAGENT_CONFIG=str(tmp_path / "medagent.toml"))
    assert (done.returncode, done.stdout) == (2, "")
    (tmp_path / "medagent.toml").write_text("allow_plugin = ['commands']")
    done = run(tmp_path, "greet", MEDAGENT_CONFIG=str(tmp_path / "medagent.toml"))
    assert done.returncode == 2
    assert "plugins' commands are left out" in done.stderr
    assert "did you mean allow_plugins" in done.stderr
    assert run(tmp_path, "plugins", MEDAGENT_CONFIG=str(tmp_path / "medagent.toml")).returncode == 78


def test_a_module_is_loaded_by_name_and_not_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path" / "hospital").mkdir(parents=True)
    (tmp_path / "path" / "hospital" / "lab.py").write_text(GOOD)
    (tmp_path / "here.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    infos, _ = plugins_in(tmp_path / "path", "--load-plugins", "hospital.lab", "--load-plugins", "here")
    assert (infos["hospital.lab"]["state"], infos["hospital.lab"]["origin"]) == ("loaded", "module hospital.lab")
    assert infos["here"]["error"] == "ModuleNotFoundError: No module named 'here'"
    done = run(tmp_path, "plugins", "--load-plugins", "../lab.py")
    assert done.returncode == 78
    assert "--load-plugins: '../lab.py' is no name of a module, such as package.module" in done.stderr


def test_strict_commands_end_with_78(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad", "import nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    agent = tmp_path / "agent.json"
    agent.write_text(json.dumps(agent_resource({})))
    done = run_main("plugins", "--strict-plugins")
    assert (done.exit_code, "bad" in done.stdout) == (78, True)
    assert "do without it: --block-plugins bad" in done.stderr
    assert run_main("check", str(agent)).exit_code == 0
    monkeypatch.setenv("MEDAGENT_STRICT_PLUGINS", "true")
    assert run_main("check", str(agent)).exit_code == 78
    assert run_main("check", str(agent), "--block-plugins", "bad").exit_code == 0
    agent.write_text(json.dumps(agent_resource({}, {"strictPlugins": True})))
    done = run_main("check", str(agent), "--no-strict-plugins")
    assert done.exit_code == 78
    assert "Agent.setting strictPlugins: plugin bad cannot be loaded: ModuleNotFoundError" in done.stdout


def test_an_interrupt_of_the_operator_is_no_plugin_s_fault(tmp_path: Path) -> None:
    install(tmp_path, "interrupted", "raise KeyboardInterrupt")
    done = run(tmp_path, "--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_medagent_s_own_commands_load_no_plugin(tmp_path: Path) -> None:
    install(tmp_path, "bad", IMPORTED)
    done = run(tmp_path, "status", "--state-dir", str(tmp_path / "none"))
    assert (done.returncode, "left out" in done.stderr) == (69, False)
    assert run(tmp_path, "--version").stderr == ""
    assert "left out" in run(tmp_path, "--help").stderr


COMMANDS = """
import typer
from medagent import hookimpl

def broken(argument: 'imported_for_type_checking_only') -> None: ...

def greet() -> None:
    typer.echo("hello")

def status() -> None:
    typer.echo("a stranger's")

@hookimpl
def medagent_register_commands(app):
    group = typer.Typer()
    group.command("inner")(broken)
    app.command("broken")(broken)
    app.add_typer(group, name="broken-group")
    app.command()(status)
    app.add_typer(group, name="queue")
    app.command("greet")(greet)
    raise RuntimeError("and then it fails")
"""


def test_a_command_that_cannot_be_built_harms_no_other(tmp_path: Path) -> None:
    install(tmp_path, "commands", COMMANDS)
    greeting = run(tmp_path, "greet")
    assert (greeting.returncode, greeting.stdout) == (0, "hello\n"), greeting.stderr
    assert greeting.stderr.count("a plugin's command is left out") == 4
    assert greeting.stderr.count("is medagent's own") == 2
    assert run(tmp_path, "--version").returncode == 0
