"""Flags > environment > properties file > defaults, and everything missing said at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medagent.config.bootstrap import Bootstrap, Flags, default_state_dir, resolve
from medagent.errors import ConfigError

SERVER = {
    "MEDAGENT_BASE_URL": "https://env.example.org",
    "MEDAGENT_CLIENT_ID": "env-client",
    "MEDAGENT_CLIENT_SECRET": "env-secret",
    "MEDAGENT_AGENT_ID": "env-agent",
}


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    path = tmp_path / "agent.properties"
    path.write_text("baseUrl=https://file.example.org/\nclientId=f\nclientSecret=f=s\nagentId=f-agent\nlogLevel=WARN\n")
    path.chmod(0o600)
    return path


def test_the_environment_is_enough() -> None:
    bootstrap = resolve(Flags(), SERVER)
    assert bootstrap.base_url == "https://env.example.org/"
    assert (bootstrap.client_id, bootstrap.client_secret, bootstrap.agent_id) == ("env-client", "env-secret", "env-agent")
    assert (bootstrap.bind_any, bootstrap.wait, bootstrap.log_level, bootstrap.log_format) == (False, True, "info", "text")
    assert bootstrap.warnings == ()


def test_a_properties_file_is_enough(properties: Path) -> None:
    bootstrap = resolve(Flags(), {}, properties)
    assert bootstrap.base_url == "https://file.example.org/"
    assert (bootstrap.client_secret, bootstrap.agent_id, bootstrap.log_level) == ("f=s", "f-agent", "warning")
    assert resolve(Flags(), {"MEDAGENT_PROPERTIES": str(properties)}) == bootstrap


def test_precedence(properties: Path) -> None:
    environ = {"MEDAGENT_CLIENT_ID": "env-client", "MEDAGENT_LOG_LEVEL": "ERROR"}
    bootstrap = resolve(Flags(log_level="debug", agent_id="Agent/flag-agent"), environ, properties)
    assert (bootstrap.log_level, bootstrap.agent_id) == ("debug", "flag-agent")
    assert bootstrap.client_id == "env-client"
    assert bootstrap.base_url == "https://file.example.org/"


@pytest.mark.parametrize(
    ("field", "variable"),
    [
        ("client_id", "MEDAGENT_CLIENT_ID"),
        ("client_secret", "MEDAGENT_CLIENT_SECRET"),
        ("agent_id", "MEDAGENT_AGENT_ID"),
        ("log_level", "MEDAGENT_LOG_LEVEL"),
    ],
)
def test_each_value_by_precedence(properties: Path, field: str, variable: str) -> None:
    file = getattr(resolve(Flags(), {}, properties), field)
    environment = getattr(resolve(Flags(), {variable: "error"}, properties), field)
    flag = getattr(resolve(replace(Flags(), **{field: "debug"}), {variable: "error"}, properties), field)
    assert (environment, flag) == ("error", "debug")
    assert file not in ("error", "debug", "", "info")


def test_everything_missing_is_listed_with_each_way_to_give_it() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Flags(), {})
    text = str(caught.value)
    for way in (
        "--base-url",
        "MEDAGENT_CLIENT_ID",
        "--client-secret-file",
        "MEDAGENT_CLIENT_SECRET_FILE",
        "agentId",
        "--agent FILE",
    ):
        assert way in text
    assert text.count("\n  - ") == 4


def test_a_file_alone_needs_no_server() -> None:
    bootstrap = resolve(Flags(agent_files=(Path("agent.json"),)), {})
    assert bootstrap.base_url == ""
    assert bootstrap.agent_files == (Path("agent.json"),)
    assert resolve(Flags(), {"MEDAGENT_AGENT": "a.json:b.json"}).agent_files == (Path("a.json"), Path("b.json"))


def test_a_file_and_a_server_need_no_agent_id() -> None:
    environ = {name: value for name, value in SERVER.items() if name != "MEDAGENT_AGENT_ID"}
    assert resolve(Flags(agent_files=(Path("agent.json"),)), environ).agent_id == ""


def test_a_client_without_a_server_is_warned_of() -> None:
    assert "nothing is sent" in resolve(Flags(agent_files=(Path("a.json"),), client_id="x"), {}).warnings[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (Flags(base_url="fhir.example.org"), "--base-url"),
        (Flags(base_url="ftp://fhir.example.org"), "--base-url"),
        (Flags(base_url="http://[::1"), "--base-url"),
        (Flags(base_url="http://localhost:99999"), "--base-url"),
        (Flags(base_url="https://fhir.example.org/?x=1"), "--base-url"),
        (Flags(agent_id="../x"), "--agent-id"),
        (Flags(log_level="loud"), "debug, info, warning, error"),
        (Flags(log_format="xml"), "text, json"),
        (Flags(bind="all"), "--bind: 'all' is not one of any"),
        (Flags(client_secret_file=Path("nowhere")), "nowhere: No such file"),
    ],
)
def test_unusable_values(flags: Flags, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(flags, SERVER)
    assert message in str(caught.value)
    assert str(caught.value).count("\n  - ") == 1


def test_a_secret_on_the_command_line_works_with_a_warning_that_does_not_repeat_it() -> None:
    bootstrap = resolve(Flags(client_secret="hush-hush"), SERVER)
    assert bootstrap.client_secret == "hush-hush"
    (warning,) = bootstrap.warnings
    assert "--client-secret-file" in warning
    assert "hush-hush" not in warning + repr(bootstrap) + repr(Flags(client_secret="hush-hush"))


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("from-file\n")
    path.chmod(0o600)
    bootstrap = resolve(Flags(client_secret_file=path), SERVER)
    assert (bootstrap.client_secret, bootstrap.warnings) == ("from-file", ())
    environ = {name: value for name, value in SERVER.items() if name != "MEDAGENT_CLIENT_SECRET"}
    assert resolve(Flags(), {**environ, "MEDAGENT_CLIENT_SECRET_FILE": str(path)}).client_secret == "from-file"
    path.chmod(0o644)
    assert "chmod 600" in resolve(Flags(client_secret_file=path), SERVER).warnings[0]


def test_http_beyond_this_machine_is_warned_of() -> None:
    assert "not encrypted" in resolve(Flags(base_url="http://fhir.example.org"), SERVER).warnings[0]
    for local in ("http://localhost:8103", "http://127.0.0.1:8103/", "http://[::1]:8103"):
        assert resolve(Flags(base_url=local), SERVER).warnings == ()


def test_state_dir() -> None:
    assert default_state_dir({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert default_state_dir({"MEDAGENT_STATE_DIR": "/srv/x", "STATE_DIRECTORY": "/var/lib/a"}) == Path("/srv/x")
    assert default_state_dir({}).is_absolute()
    assert resolve(Flags(state_dir=Path("/srv/y")), {**SERVER, "MEDAGENT_STATE_DIR": "/srv/x"}).state_dir == Path("/srv/y")


def test_switches() -> None:
    bootstrap = resolve(Flags(bind="any", no_wait=True, blocked_plugins=("a",)), SERVER)
    assert (bootstrap.bind_any, bootstrap.wait, bootstrap.blocked_plugins) == (True, False, ("a",))
    assert resolve(Flags(), {**SERVER, "MEDAGENT_BLOCK_PLUGINS": "a, b"}).blocked_plugins == ("a", "b")
    assert Bootstrap().wait
