"""`medagent config`: what would be started with, and what a running agent works with."""

from __future__ import annotations

import asyncio
import inspect
import json
from pathlib import Path

import pytest

from medagent.cli.config import config_command
from medagent.cli.run import run
from medagent.config.options import OPTIONS
from medagent.testing.command_line import run_main
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)


def test_it_takes_the_options_of_run() -> None:
    of_run = inspect.signature(run, eval_str=True).parameters
    of_config = inspect.signature(config_command, eval_str=True).parameters
    assert {name: of_config[name] for name in of_run} == dict(of_run)
    assert set(of_run) == {*OPTIONS, "properties", "config"}


def test_what_would_be_started_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "medagent.toml").write_text('base_url = "https://fhir.example.org/"\nagent_id = "a"\nclient_id = "c"\n')
    monkeypatch.setenv("MEDAGENT_CLIENT_SECRET", "hush-hush")
    arguments = ("config", "--config", str(tmp_path / "medagent.toml"), "--state-dir", str(tmp_path), "--client-id", "c2")
    shown = run_main(*arguments, "--format", "json")
    assert (shown.exit_code, shown.stderr) == (0, "")
    options = {each["name"]: (each["value"], each["origin"]) for each in shown.json["options"]}
    assert options["client_id"] == ("c2", "--client-id")
    assert options["client_secret"] == ("set", "MEDAGENT_CLIENT_SECRET")
    assert options["base_url"] == ("https://fhir.example.org/", f"{tmp_path / 'medagent.toml'}: base_url")
    assert shown.json["agent"] is None
    text = run_main(*arguments)
    assert text.exit_code == 0
    assert "client_secret" in text.stdout
    assert "hush-hush" not in text.stdout + shown.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["medagent.toml"]


def test_nothing_is_cut_at_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "client-secret").touch(0o600)
    (tmp_path / "client-secret").write_text("hush")
    agent_id = "3a3c7b1e-2f0d-4a58-9e43-0c2f9f3c1d77"
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_main(
        *("config", "--base-url", "https://fhir.north-wing.hospital.example.org/", "--client-id", "c", "--agent-id", agent_id),
        *("--client-secret-file", str(tmp_path / "client-secret"), "--state-dir", str(tmp_path)),
    )
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert agent_id in shown.stdout.split()
    assert "…" not in shown.stdout
    assert "named by" in shown.stdout


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    done = run_main("config", "--base-url", "nowhere", "--config", str(tmp_path / "missing.toml"))
    assert (done.exit_code, done.stdout) == (78, "")
    assert [line.strip()[:12] for line in done.stderr.splitlines()[1:]] == [f"- {tmp_path}"[:12], "- --base-url"]
    assert run_main("config", "--format", "json").exit_code == 78


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    server = ("--base-url", "https://127.0.0.1/", "--client-id", "c", "--client-secret", "s", "--agent-id", "a")
    done = run_main("config", *server, "--ca-file", str(tmp_path / "ca.pem"), "--state-dir", str(tmp_path))
    assert (done.exit_code, done.stdout) == (78, "")
    assert "ca.pem: no usable PEM file of certificates" in done.stderr


def test_with_no_agent_to_ask(tmp_path: Path) -> None:
    done = run_main("config", "--running", "--state-dir", str(tmp_path))
    assert (done.exit_code, done.stdout) == (69, "")
    assert str(tmp_path) in done.stderr


async def test_of_a_running_agent(tmp_path: Path) -> None:
    agent, endpoint, state = tmp_path / "agent.json", tmp_path / "endpoints.json", tmp_path / "state"
    agent.write_text(json.dumps(agent_resource({"adt": "ep", "lab": "barred", "old": "off"}, {"batchSize": 50}, name="Ward 7")))
    endpoints = [
        endpoint_resource("ep", "mllp://127.0.0.1:0?enhanced=aa"),
        endpoint_resource("barred", "mllp://127.0.0.1:0?alow=10.1.0.0/16"),
        endpoint_resource("off", "mllp://127.0.0.1:1", status="off"),
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in endpoints]}
    endpoint.write_text(json.dumps(bundle))
    files = ("--agent", str(agent), "--agent", str(endpoint))
    async with AgentProcess(*files, "--state-dir", str(state), "--log-format", "json") as process:
        await process.logged("configured as")
        asked = await asyncio.to_thread(run_main, "config", "--running", "--state-dir", str(state), "--format", "json")
        options = {each["name"]: (each["value"], each["origin"]) for each in asked.json["options"]}
        assert options["log_format"] == ("json", "--log-format")
        settings = {each["name"]: (each["value"], each["origin"]) for each in asked.json["agent"]["settings"]}
        assert settings["batchSize"] == (50, "Agent")
        # what would be started with now, beside what the agent works with
        arguments = ("config", *files, "--state-dir", str(state))
        both = await asyncio.to_thread(run_main, *arguments, "--format", "json")
        assert both.json["agent"] == asked.json["agent"]
        assert {each["name"]: each["value"] for each in both.json["options"]}["log_format"] == "text"
        text = (await asyncio.to_thread(run_main, *arguments)).stdout
        assert "In force: Agent Ward 7" in text
        titles = [line.strip() for line in text.splitlines() if line.startswith("Channel ")]
        assert titles[0] == "Channel adt, mllp://127.0.0.1:0"
        assert titles[1].startswith("Channel lab, mllp://127.0.0.1:0, does not listen: alow")
        assert titles[2] == "Channel old, mllp://127.0.0.1:1, off"
        assert await process.stop() == 0
