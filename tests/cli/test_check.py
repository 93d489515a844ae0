"""`medagent check`, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medagent.cli.check import register
from medagent.testing.resources import agent_resource, endpoint_resource, setting


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)
    app.callback()(lambda: None)  # without it typer makes a single command no subcommand
    return app


def write(folder: Path, name: str, resource: object) -> str:
    path = folder / name
    path.write_text(json.dumps(resource))
    return str(path)


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return write(tmp_path, "endpoint.json", endpoint_resource("ep", "mllp://0.0.0.0:2575?enhanced=aa"))


def test_a_sound_agent(app: typer.Typer, tmp_path: Path, endpoint: str) -> None:
    agent = write(tmp_path, "agent.json", agent_resource({"adt": "ep"}, {"batchSize": 50, "durableQueue": True}))
    result = CliRunner().invoke(app, ["check", agent, endpoint])
    assert result.exit_code == 0, result.output
    assert 'channel "adt"  mllp://0.0.0.0:2575  ' in result.output
    assert "enhanced=aa" in result.output
    assert "a commit at 50 messages or after 100 ms" in result.output
    assert "note   Agent.setting[1]: durableQueue" in result.output
    assert "0 errors, 1 note" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("kind", ["collection", "searchset"])
def test_a_bundle_of_agent_and_endpoints(app: typer.Typer, tmp_path: Path, kind: str) -> None:
    resources = [agent_resource({"adt": "ep"}), endpoint_resource("ep", "mllp://0.0.0.0:2575")]
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [{"resource": each} for each in resources]}
    result = CliRunner().invoke(app, ["check", write(tmp_path, "bundle.json", bundle)])
    assert result.exit_code == 0, result.output


def test_a_faulty_agent(app: typer.Typer, tmp_path: Path) -> None:
    agent = write(tmp_path, "agent.json", agent_resource({"adt": "ep"}, [{"name": "batchSize", "valueString": "50"}]))
    result = CliRunner().invoke(app, ["check", agent])
    assert result.exit_code == 78
    lines = result.output.splitlines()
    assert lines[0] == "Settings"
    assert lines[1].startswith('  error  Agent.setting[0].valueString: batchSize is given as valueString "50"; wanted is')
    assert lines[1].endswith("using the default, 100")
    assert "Channels" in lines
    assert "no channel" in result.output
    assert "3 errors, 0 notes" in lines[-1]


def test_only_what_differs_from_the_defaults_is_shown(app: typer.Typer, tmp_path: Path) -> None:
    agent = write(tmp_path, "agent.json", agent_resource({"adt": "ep"}))
    endpoint = write(tmp_path, "endpoint.json", endpoint_resource("ep", "mllp://0.0.0.0:2575?enhanced=false&lenientEnd=true"))
    lines = CliRunner().invoke(app, ["check", agent, endpoint]).output.splitlines()
    assert '  channel "adt"  mllp://0.0.0.0:2575  lenientEnd=true' in lines


def test_channels_that_will_not_listen_are_marked(app: typer.Typer, tmp_path: Path) -> None:
    addresses = {
        "open": "mllp://0.0.0.0:2575?alow=10.1.0.0/16",
        "files": "mllps://0.0.0.0:2576?certFile=/missing.pem&keyFile=/missing.key",
        "nameless": "mllps://0.0.0.0:2577?certFile=/missing.pem",
        "well": "mllp://0.0.0.0:2578?allow=1.2.3",
    }
    agent = write(tmp_path, "agent.json", agent_resource({name: name for name in addresses}))
    endpoints = [write(tmp_path, name, endpoint_resource(name, address)) for name, address in addresses.items()]
    result = CliRunner().invoke(app, ["check", agent, *endpoints])
    assert result.exit_code == 78
    lines = [line for line in result.output.splitlines() if line.startswith("  channel ")]
    assert ["does not listen: see the errors above" in line for line in lines] == [True, True, True, False]
    assert "?alow: unknown parameter; did you mean allow?; using nothing: the channel does not listen" in result.output
    assert "using no entry: nobody can connect" in result.output


def test_json(app: typer.Typer, tmp_path: Path, endpoint: str) -> None:
    agent = write(tmp_path, "agent.json", agent_resource({"adt": "ep"}, [setting("batchSize", 0)]))
    result = CliRunner().invoke(app, ["check", "--format", "json", agent, endpoint])
    assert result.exit_code == 78
    document = json.loads(result.output)
    assert document["well"] is False
    assert [problem["where"] for problem in document["problems"]] == ["Agent.setting[0].valueInteger"]
    assert document["configuration"]["channels"][0]["parameters"]["enhanced"] == "aa"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"resourceType":\n  "Agent",,}', "agent.json, line 2, column 11: not JSON"),
        ('{"resourceType": "Patient"}', "no Agent there"),
        ("[1]", "not a FHIR resource"),
    ],
)
def test_an_unusable_file(app: typer.Typer, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "agent.json"
    path.write_text(content)
    text = CliRunner().invoke(app, ["check", str(path)])
    assert text.exit_code == 78
    assert message in text.output
    machine = CliRunner().invoke(app, ["check", "--format", "json", str(path)])
    assert machine.exit_code == 78
    assert message in json.loads(machine.output)["problems"][0]["message"]
    assert json.loads(machine.output)["configuration"] is None


def test_hosts_of_another_machine(app: typer.Typer, tmp_path: Path) -> None:
    agent = write(tmp_path, "agent.json", agent_resource({"adt": "ep"}))
    # 192.0.2.0/24 is for documentation (RFC 5737)
    endpoint = write(tmp_path, "endpoint.json", endpoint_resource("ep", "mllp://192.0.2.1:2575"))
    assert "is not an address of this machine" in CliRunner().invoke(app, ["check", agent, endpoint]).output
    assert "0 notes" in CliRunner().invoke(app, ["check", "--no-here", agent, endpoint]).output
