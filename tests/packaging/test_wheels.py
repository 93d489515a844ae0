"""The built wheels, in an environment that has nothing else: what a user installs, not what lies in the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
MESSAGE = b"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01|W1|P|2.5\rPID|1||4711\r"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    for distribution in DISTRIBUTIONS:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(distribution)]
        subprocess.run(command, check=True, capture_output=True)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheels, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder)
    interpreter = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *map(str, wheels)], check=True, capture_output=True)
    return str(interpreter)


@pytest.fixture
def bundle(tmp_path) -> Path:
    entries = [agent_resource({"lab": "lab"}), endpoint_resource("lab", "mllp://127.0.0.1:0?enhanced=true")]
    resource = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": entry} for entry in entries]}
    path = tmp_path / "agent.json"
    path.write_text(json.dumps(resource))
    return path


def test_wheels_hold_what_they_must(wheels):
    assert len(wheels) == len(DISTRIBUTIONS)
    for wheel in wheels:
        names = zipfile.ZipFile(wheel).namelist()
        assert any(name.endswith("/py.typed") for name in names)
        assert not [name for name in names if "tests/" in name]


def test_the_core_s_wheel_holds_the_templates_of_new_plugins(wheels):
    core = next(wheel for wheel in wheels if wheel.name.startswith("medagent-"))
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "medagent" / "scaffold").rglob("*.template")}
    assert templates
    assert templates <= set(zipfile.ZipFile(core).namelist())


def test_check(python, bundle, tmp_path):
    run = subprocess.run(
        [python, "-m", "medagent", "check", str(bundle), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr


async def test_a_message_goes_through(python, bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with AgentProcess("--agent", str(bundle), "--state-dir", str(tmp_path / "state"), python=python) as process:
        await process.listening("lab")
        async with await MllpClient.connect(*process.addresses["lab"]) as client:
            await client.send(MESSAGE)
            assert b"MSA|CA|W1" in await client.receive()
        assert await process.stop() == 0
