"""What `medagent plugins new` writes, of every kind: it installs, is clean, passes its own tests, and runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medagent.scaffold import Kind, Names, write
from medagent.testing.distribution import environ_with, pip_install
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource

NAMES = {kind: Names.of(f"ward-{kind.value}") for kind in Kind}
HL7 = b"MSH|^~\\&|LAB|NORTH|EHR||20260105||ORU^R01|M1|P|2.5\rPID|1||4711\rNTE|1||x\r"


@dataclass(frozen=True, slots=True)
class Installed:
    """All kinds at once, in a folder that is put on `PYTHONPATH`."""

    folders: Mapping[Kind, Path]
    environ: Mapping[str, str]

    def run(self, *command: str, folder: Path) -> str:
        """Run a Python module to its end; returns its output. Fails the test if it fails."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=dict(self.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    sources, target = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("target")
    folders = {kind: write(kind, names, sources) for kind, names in NAMES.items()}
    pip_install(target, *folders.values())
    return Installed(folders, environ_with(target))


def test_they_are_listed(installed: Installed, tmp_path: Path) -> None:
    listed = json.loads(installed.run("medagent", "plugins", "--format", "json", folder=tmp_path))
    states = {info["name"]: (info["state"], info["error"]) for info in listed}
    assert {names.name: states.get(names.name) for names in NAMES.values()} == {
        names.name: ("loaded", "") for names in NAMES.values()
    }


def test_they_are_clean_by_ruff(installed: Installed) -> None:
    for folder in installed.folders.values():
        installed.run("ruff", "check", "--isolated", "--no-cache", ".", folder=folder)


def test_they_are_clean_by_mypy(installed: Installed) -> None:
    folder = installed.folders[Kind.CHANNEL].parent
    modules = [str(path / NAMES[kind].module) for kind, path in installed.folders.items()]
    assert "Success" in installed.run("mypy", "--strict", "--config-file=", *modules, folder=folder)


@pytest.mark.parametrize("kind", Kind)
def test_their_own_tests_pass(kind: Kind, installed: Installed) -> None:
    assert "passed" in installed.run("pytest", "-q", "-p", "no:cacheprovider", folder=installed.folders[kind])


@contextlib.asynccontextmanager
async def line_server(received: list[dict[str, Any]]) -> AsyncIterator[str]:  # what a line holds depends on its type
    """The server of the written uplink: it takes what comes, and answers each message with AA. Gives its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            frame = json.loads(line)
            answer: dict[str, object] = {"type": "connected"}
            if frame["type"] == "message":
                received.append(frame)
                answer = {"type": "answer", "callback": frame["callback"], "statusCode": 200, "body": "MSH|\rMSA|AA|M1\r"}
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname()[:2])


async def test_one_agent_runs_with_all_of_them(installed: Installed, tmp_path: Path) -> None:
    entries = [
        agent_resource({"ward": "ward", "lab": "lab"}, {"queueStrategy": "wardStrategy", "wardStrategyCommitSize": 5}),
        endpoint_resource("ward", "ward-channel://127.0.0.1:0"),
        endpoint_resource("lab", "mllp://127.0.0.1:0?wardTransformLeaves=NTE"),
    ]
    bundle = tmp_path / "agent.json"
    bundle.write_text(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]})
    )
    arguments = ["--agent", str(bundle), "--state-dir", str(tmp_path / "state"), "--queue-store", "ward-store:ward.db"]
    received: list[dict[str, Any]] = []  # as above
    async with line_server(received) as address, asyncio.timeout(30):
        environ = {**installed.environ, "WARD_UPLINK_SERVER": address}
        async with AgentProcess(*arguments, environ=environ) as agent:
            await agent.listening("ward", "lab")
            reader, writer = await asyncio.open_connection(*agent.addresses["ward"])
            writer.write(b"17 temperature 37.2\n")
            assert [await reader.readline(), await reader.readline()] == [b"stored 17\n", b"done 17\n"]
            writer.close()
            async with await MllpClient.connect(*agent.addresses["lab"]) as device:
                await device.send(HL7)
                assert b"MSA|AA|M1" in await device.receive()
            assert await agent.stop() == 0
            assert not [line for line in agent.log if "ERROR" in line], agent.log
    assert [(frame["channel"], frame["body"]) for frame in received] == [
        ("ward", "17 temperature 37.2"),
        ("lab", HL7.decode().removesuffix("NTE|1||x\r")),
    ]
    assert (tmp_path / "state" / "ward.db").exists()
    assert not (tmp_path / "state" / "queue.db").exists()
