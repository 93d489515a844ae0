"""`medagent run`, what it does before there is an agent."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from medagent.cli.main import COMMANDS
from medagent.testing.distribution import environ_with, install
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource

SCRIPT = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
from medagent.cli.run import raise_file_limit
raise_file_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_limit_of_open_files_is_raised() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=10)
    assert done.stdout.split() == ["200", "200"]


LOADED = """
import sys
from medagent import hookimpl

@hookimpl
async def medagent_startup(agent):
    print("loaded:", *sys.modules, file=sys.stderr)
"""


def _children(pid: int) -> str:
    """The ids of a process's own, those that nobody has waited for too."""
    return "".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children"))


async def test_a_running_agent_has_loaded_nothing_that_only_commands_or_validation_need(tmp_path: Path) -> None:
    """What it loads makes its start longer and stays in its memory."""
    install(tmp_path, "loaded", LOADED)
    endpoint = endpoint_resource("adt", "mllp://127.0.0.1:0")
    del endpoint["payloadType"]
    (tmp_path / "agent.json").write_text(json.dumps(agent_resource({"adt": "adt"})))
    (tmp_path / "endpoint.json").write_text(json.dumps(endpoint))
    files = [part for name in ("agent.json", "endpoint.json") for part in ("--agent", str(tmp_path / name))]
    async with AgentProcess(*files, "--state-dir", str(tmp_path / "state"), environ=environ_with(tmp_path)) as agent:
        loaded = {name for name in (await agent.logged("loaded: ")).split() if name != "loaded:"}
        await agent.logged("Endpoint/adt.payloadType: required, but missing")  # so fhir.resources has validated it
        await agent.listening("adt")
        async with asyncio.timeout(10):
            while _children(agent.pid):  # nobody is told of their end
                await asyncio.sleep(0.01)
    packages = {name.partition(".")[0] for name in loaded}
    assert not packages & {"fhir", "fhir_core", "pydantic", "rich", "jsonschema", "cryptography", "unittest", "pytest", "xml"}
    assert loaded & {f"medagent.cli.{name}" for name in COMMANDS} == {"medagent.cli.run"}
