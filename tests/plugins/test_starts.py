"""Starts of a real agent beside plugins whose imports hang or crash, or of which all must be loaded."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from medagent.admin import call
from medagent.plugins.marker import MARKER_NAME
from medagent.testing.command import Finished, finish_command
from medagent.testing.distribution import environ_with, install
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource

QUICK = """
from medagent.plugins import probing, time_limit
time_limit.IMPORT_SECONDS, probing.PROBE_SECONDS = 1.0, 4.0
from medagent.cli.main import main
main()
"""
"""`medagent` with less patience than it has."""

SOON = """
import sys
from medagent.cli import run
run.STOP_SECONDS = 0.2
if sys.argv.pop() == "plain":
    sys.modules["uvloop"] = None
from medagent.cli.main import main
main()
"""
"""`medagent` that ends sooner after a signal, on the loop that the last argument names."""

BLOCK = """
import sys, time
from medagent import hookimpl

@hookimpl
def medagent_startup(agent):
    print("it blocks", file=sys.stderr, flush=True)
    time.sleep(600)
"""
HANG = "import sys, time\nprint('it hangs', file=sys.stderr, flush=True)\ntime.sleep(600)"
# a signal handler of Python's runs only between two instructions: blocked signals stand for code that never comes back
HANG_FOR_GOOD = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n" + HANG
CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"
WELL = "from medagent import hookimpl\n\n@hookimpl\ndef medagent_health(agent):\n    return []"


@pytest.fixture
def agent_file(tmp_path: Path) -> Path:
    entries = [agent_resource({"adt": "ep"}), endpoint_resource("ep", "mllp://127.0.0.1:0")]
    path = tmp_path / "agent.json"
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}
    path.write_text(json.dumps(bundle))
    return path


def start(agent_file: Path, *options: str, quick: bool = True) -> AgentProcess:
    """An agent of the folder in which the file is, with the plugins that are installed there."""
    folder = agent_file.parent
    return AgentProcess(
        *("--agent", str(agent_file), "--state-dir", str(folder / "state"), *options),
        environ=environ_with(folder) | {"MEDAGENT_BLOCK_PLUGINS": "tcp astm"},
        program=("-c", QUICK) if quick else ("-m", "medagent"),
    )


async def reasons(agent_file: Path) -> list[str]:
    """Why the agent that runs is not well."""
    found: list[str] = (await asyncio.to_thread(call, agent_file.parent / "state", "status"))["reasons"]
    return found


async def test_an_import_that_hangs_is_left_out_at_the_first_start(tmp_path: Path, agent_file: Path) -> None:
    install(tmp_path, "aa_hangs", HANG)
    async with start(agent_file) as agent:
        await agent.listening("adt")
        [reason] = await reasons(agent_file)
        assert reason == "plugin aa_hangs: its import takes more than 1 s (it was in plugin_aa_hangs.py, line 3)"
        assert not (tmp_path / "state" / MARKER_NAME).exists()
        assert await agent.stop() == 0


async def test_a_signal_ends_an_agent_that_hangs_in_an_import(tmp_path: Path, agent_file: Path) -> None:
    install(tmp_path, "aa_hangs", HANG)
    async with start(agent_file, quick=False) as agent:
        await agent.logged("it hangs")
        assert await agent.stop() == -signal.SIGTERM
    assert (tmp_path / "state" / MARKER_NAME).read_text() == "aa_hangs"


@pytest.mark.parametrize("loop", ["plain", "uvloop"])
async def test_a_signal_ends_an_agent_whose_event_loop_a_plugin_blocks_for_ever(
    tmp_path: Path, agent_file: Path, loop: str
) -> None:
    install(tmp_path, "blocks", BLOCK)
    arguments = ("--agent", str(agent_file), "--state-dir", str(tmp_path / "state"), loop)
    async with AgentProcess(*arguments, environ=environ_with(tmp_path), program=("-c", SOON)) as agent:
        await agent.logged("it blocks")
        async with asyncio.timeout(5):
            assert await agent.stop() == 128 + signal.SIGTERM


async def test_after_a_start_that_hung_for_good_imports_are_tried_apart(tmp_path: Path, agent_file: Path) -> None:
    install(tmp_path, "aa_hangs", HANG_FOR_GOOD)
    marker = tmp_path / "state" / MARKER_NAME
    async with start(agent_file) as agent:
        await agent.logged("it hangs")
        assert marker.read_text() == "aa_hangs"
        await agent.kill()
    async with start(agent_file) as agent:
        await agent.logged("a start has ended within the import of plugin aa_hangs")
        await agent.listening("adt")
        assert await reasons(agent_file) == ["plugin aa_hangs: its import takes more than 4 s"]
        assert await agent.stop() == 0
    assert marker.read_text() == "aa_hangs", "it would hang at the next start"
    (tmp_path / "plugin_aa_hangs.py").write_text(WELL)
    async with start(agent_file) as agent:
        await agent.listening("adt")
        assert await reasons(agent_file) == []
    assert not marker.exists()


async def test_after_a_start_that_crashed_the_next_one_works(tmp_path: Path, agent_file: Path) -> None:
    install(tmp_path, "aa_crashes", CRASH)
    async with start(agent_file) as agent:
        assert await agent.wait() == -signal.SIGSEGV
    async with start(agent_file) as agent:
        await agent.listening("adt")
        assert await reasons(agent_file) == ["plugin aa_crashes: its import ends the process by signal SIGSEGV"]


async def test_a_start_that_was_killed_for_another_reason_costs_no_plugin(tmp_path: Path, agent_file: Path) -> None:
    install(tmp_path, "aa_well", WELL)
    marker = tmp_path / "state" / MARKER_NAME
    marker.parent.mkdir(mode=0o700)
    marker.write_text("aa_well")
    async with start(agent_file) as agent:
        await agent.listening("adt")
        assert await reasons(agent_file) == []
        assert not marker.exists()
        async with start(agent_file, "--no-wait") as second:
            assert await second.wait() == 75
        assert not marker.exists()


async def test_all_plugins_may_be_wanted(tmp_path: Path, agent_file: Path) -> None:
    install(tmp_path, "aa_bad", "import nowhere")
    install(tmp_path, "aa_exits", "raise SystemExit(0)")
    async with start(agent_file, "--strict-plugins") as agent:
        assert await agent.wait() == 78
    assert agent.log[-4:] == [
        "medagent: strictPlugins is on, and not every plugin can be loaded:",
        "  - aa_bad (medagent-aa-bad 1.5): ModuleNotFoundError: No module named 'nowhere' at plugin_aa_bad.py:1 in <module>",
        "  - aa_exits (medagent-aa-exits 1.5): SystemExit: 0 at plugin_aa_exits.py:1 in <module>",
        "Mend or uninstall it, or do without it: --block-plugins aa_bad --block-plugins aa_exits",
    ]
    async with start(agent_file, "--strict-plugins", "--block-plugins", "aa_bad", "--block-plugins", "aa_exits") as agent:
        await agent.listening("adt")
        assert await reasons(agent_file) == []


async def command(folder: Path, *arguments: str) -> Finished:
    """`medagent` with the plugins that are installed in the folder, and less patience."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", QUICK, *arguments),
        env=environ_with(folder),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return await finish_command(process)


async def test_a_command_knows_of_the_marker_too_and_leaves_it(tmp_path: Path) -> None:
    install(tmp_path, "aa_crashes", CRASH)
    (tmp_path / MARKER_NAME).write_text("aa_crashes")
    done = await command(tmp_path, "plugins", "--format", "json", "--state-dir", str(tmp_path))
    [info] = [each for each in done.json if each["name"] == "aa_crashes"]
    assert info["error"] == "its import ends the process by signal SIGSEGV"
    assert (tmp_path / MARKER_NAME).read_text() == "aa_crashes"


COMMANDS_THAT_HANG = """
from medagent import hookimpl

@hookimpl
def medagent_register_commands(app):
    import plugin_for_good
"""


async def test_commands_that_hang_while_they_are_added_are_left_out(tmp_path: Path) -> None:
    install(tmp_path, "aa_hangs", COMMANDS_THAT_HANG)
    (tmp_path / "plugin_for_good.py").write_text(HANG)
    done = await command(tmp_path, "--help")
    assert done.exit_code == 0
    assert "some plugins' commands are left out" in done.stderr
    assert "status" in done.stdout
