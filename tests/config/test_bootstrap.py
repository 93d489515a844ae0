"""Flags > environment > systemd credential > properties file > TOML file > defaults; everything wrong is said at once."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medagent.config.bootstrap import Bootstrap, default_state_dir, resolve, resolve_plugin_options
from medagent.config.options import OPTIONS, Flags, Kind, Option
from medagent.config.plugin_options import PluginOptions
from medagent.config.secret import CREDENTIAL
from medagent.errors import ConfigError
from medagent.testing.certificates import Authority

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
    bootstrap = resolve(Flags(properties=properties), {})
    assert bootstrap.base_url == "https://file.example.org/"
    assert (bootstrap.client_secret, bootstrap.agent_id, bootstrap.log_level) == ("f=s", "f-agent", "warning")
    assert resolve(Flags(), {"MEDAGENT_PROPERTIES": str(properties)}) == bootstrap


def test_precedence(properties: Path) -> None:
    environ = {"MEDAGENT_CLIENT_ID": "env-client", "MEDAGENT_LOG_LEVEL": "ERROR"}
    bootstrap = resolve(Flags(properties=properties, log_level="debug", agent_id="Agent/flag-agent"), environ)
    assert (bootstrap.log_level, bootstrap.agent_id) == ("debug", "flag-agent")
    assert bootstrap.client_id == "env-client"
    assert bootstrap.base_url == "https://file.example.org/"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


VALUES = {"base_url": "https://x.example.org/", "log_level": "error", "log_format": "json", "bind": "any", "proxy": "none"}
"""Of options that do not take any text."""


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "option", [each for each in OPTIONS.values() if each.name != "client_secret_file"], ids=lambda each: each.name
)
def test_each_option_is_taken_from_the_first_source_that_has_it(tmp_path: Path, authority: Authority, option: Option) -> None:
    certificate = "".join(path.read_text() for path in authority.issue("agent"))
    file = private(tmp_path / "file", certificate)  # of any option that names one
    flag, text, toml_value = {
        Kind.TEXT: (VALUES.get(option.name, "x"), VALUES.get(option.name, "x"), f'"{VALUES.get(option.name, "x")}"'),
        Kind.PATH: (file, str(file), f'"{file}"'),
        Kind.PATHS: ((file,), str(file), f'["{file}"]'),
        Kind.NAMES: (("x",), "x", '["x"]'),
        Kind.SWITCH: (True, "true", "true"),
    }[option.kind]
    needed = {name: value for name, value in NEEDED.items() if name != option.name}
    if option.name == "client_key_file":
        needed["client_cert_file"] = str(file)
    toml = private(
        tmp_path / "medagent.toml",
        "".join(f'{name} = "{value}"\n' for name, value in needed.items()) + f"{option.name} = {toml_value}\n",
    )
    properties = private(tmp_path / "agent.properties", f"{option.properties}={text}\n" if option.properties else "")
    flags = Flags(config=toml)
    environ: dict[str, str] = {}
    origins = [resolve(flags, environ).origins[option.name]]
    flags = replace(flags, properties=properties)
    origins.append(resolve(flags, environ).origins[option.name])
    environ = {option.variable: text}
    origins.append(resolve(flags, environ).origins[option.name])
    by_name: dict[str, Any] = {option.name: flag}  # of the type of that flag
    flags = replace(flags, **by_name)
    origins.append(resolve(flags, environ).origins[option.name])
    in_toml = f"{toml}: {option.name}"
    in_properties = f"{properties}: {option.properties}" if option.properties else in_toml
    assert origins == [in_toml, in_properties, option.variable, option.flag]


NEEDED = {"base_url": "https://toml.example.org/", "client_id": "c", "client_secret": "s", "agent_id": "a"}


def test_the_secret_is_taken_from_the_first_source_that_has_it(tmp_path: Path) -> None:
    toml = private(
        tmp_path / "medagent.toml",
        "".join(f'{name} = "{value}"\n' for name, value in NEEDED.items() if name != "client_secret")
        + 'client_secret_file = "toml-secret"\n',
    )
    files = {name: private(tmp_path / name, f"from {name}\n") for name in ("toml-secret", "env-secret", "flag-secret")}
    properties = private(tmp_path / "agent.properties", "clientSecret=from properties")
    private(tmp_path / CREDENTIAL, "from systemd")
    flags, environ = Flags(config=toml), {"CREDENTIALS_DIRECTORY": str(tmp_path / "nothing")}
    found = [resolve(flags, environ)]
    flags = replace(flags, properties=properties)
    found.append(resolve(flags, environ))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    found.append(resolve(flags, environ))
    environ["MEDAGENT_CLIENT_SECRET_FILE"] = str(files["env-secret"])
    found.append(resolve(flags, environ))
    environ["MEDAGENT_CLIENT_SECRET"] = "from the environment"
    found.append(resolve(flags, environ))
    flags = replace(flags, client_secret_file=files["flag-secret"])
    found.append(resolve(flags, environ))
    assert [(each.client_secret, each.origins["client_secret"], each.warnings) for each in found] == [
        ("from toml-secret", f"file {files['toml-secret']}, named by {toml}: client_secret_file", ()),
        ("from properties", f"{properties}: clientSecret", ()),
        ("from systemd", f"systemd credential {CREDENTIAL}", ()),
        ("from env-secret", f"file {files['env-secret']}, named by MEDAGENT_CLIENT_SECRET_FILE", ()),
        ("from the environment", "MEDAGENT_CLIENT_SECRET", ()),
        ("from flag-secret", f"file {files['flag-secret']}, named by --client-secret-file", ()),
    ]


def test_a_secret_that_one_user_is_given_by_an_access_control_list_is_private(tmp_path: Path) -> None:
    secret = private(tmp_path / CREDENTIAL, "hush")
    # the kernel's form of user::rw-, user:1:r--, group::---, mask::r--, other::---
    entries = [(0x01, 6, 2**32 - 1), (0x02, 4, 1), (0x04, 0, 2**32 - 1), (0x10, 4, 2**32 - 1), (0x20, 0, 2**32 - 1)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(secret, "system.posix_acl_access", access)
    except OSError:
        pytest.skip("this file system has no access control lists")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o640
    environ = {name: value for name, value in SERVER.items() if name != "MEDAGENT_CLIENT_SECRET"}
    assert resolve(Flags(), {**environ, "CREDENTIALS_DIRECTORY": str(tmp_path)}).warnings == ()


def test_a_secret_in_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    toml = private(tmp_path / "medagent.toml", "".join(f'{name} = "{value}"\n' for name, value in NEEDED.items()))
    assert resolve(Flags(config=toml), {}).warnings == ()
    toml.chmod(0o644)
    assert resolve(Flags(config=toml), {}).warnings == (f"{toml} holds a secret and other users can read it: chmod 600 {toml}",)
    proxied = {"proxy": '"http://u:hush@proxy:3128"'}
    toml.write_text(toml.read_text() + "".join(f"{name} = {value}\n" for name, value in proxied.items()))
    assert len(resolve(Flags(config=toml), {}).warnings) == 1


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    toml = private(tmp_path / "medagent.toml", 'base_url = 5\nclient_idd = "x"\nca_file = "missing.pem"\nlog_level = "loud"\n')
    environ = {"MEDAGENT_NO_WAIT": "perhaps", "MEDAGENT_AGENT": "nowhere.json", "MEDAGENT_PROXY": "socks5://u:hush@x"}
    with pytest.raises(ConfigError) as caught:
        resolve(Flags(config=toml, client_key_file=Path("nowhere.key")), environ)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the configuration cannot be used:"
    for part in (
        "base_url is a whole number; wanted is a text",
        "unknown key 'client_idd'; did you mean client_id?",
        f"{toml}: ca_file: {tmp_path / 'missing.pem'}: No such file",
        f"{toml}: log_level: 'loud' is not one of debug, info, warning, error",
        "MEDAGENT_NO_WAIT: 'perhaps' is not true or false",
        "MEDAGENT_AGENT: nowhere.json: No such file",
        "--client-key-file: nowhere.key: No such file",
        "--client-key-file: a key without its certificate",
        "MEDAGENT_PROXY: not the address",
    ):
        assert [part in line for line in lines].count(True) == 1, part
    assert len(lines) == 10
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["base_url", "agent_id", "log_level"])
def test_a_fault_names_where_the_value_came_from(tmp_path: Path, name: str) -> None:
    option = OPTIONS[name]
    toml = private(tmp_path / "medagent.toml", f'{name} = "/x y"\n')
    properties = private(tmp_path / "agent.properties", f"{option.properties}=/x y\n")
    environ = {variable: value for variable, value in SERVER.items() if variable != option.variable}
    by_name: dict[str, Any] = {name: "/x y"}  # of the type of that flag
    for flags, variables, origin in (
        (Flags(**by_name), {}, option.flag),
        (Flags(), {option.variable: "/x y"}, option.variable),
        (Flags(properties=properties), {}, f"{properties}: {option.properties}"),
        (Flags(config=toml), {}, f"{toml}: {name}"),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve(flags, environ | variables)
        (line,) = str(caught.value).splitlines()[1:]
        assert line.startswith(f"  - {origin}: ")


def test_what_may_stand_in_a_file_that_cannot_be_read_is_not_called_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Flags(config=tmp_path / "a.toml", properties=tmp_path / "b.properties", log_level="loud"), {})
    assert str(caught.value).splitlines()[1:] == [
        f"  - {tmp_path / 'b.properties'}: No such file or directory",
        f"  - {tmp_path / 'a.toml'}: No such file or directory",
        "  - --log-level: 'loud' is not one of debug, info, warning, error",
    ]


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
        "agent_id in a TOML file",
        "the systemd credential medagent-client-secret",
        "--agent FILE",
    ):
        assert way in text
    assert text.count("\n  - ") == 4


@pytest.fixture
def agent_file(tmp_path: Path) -> Path:
    return private(tmp_path / "agent.json", "{}")


def test_a_file_alone_needs_no_server(agent_file: Path) -> None:
    bootstrap = resolve(Flags(agent=(agent_file,)), {})
    assert bootstrap.base_url == ""
    assert bootstrap.agent_files == (agent_file,)
    assert resolve(Flags(), {"MEDAGENT_AGENT": f"{agent_file}:{agent_file}"}).agent_files == (agent_file, agent_file)


def test_a_file_and_a_server_need_no_agent_id(agent_file: Path) -> None:
    environ = {name: value for name, value in SERVER.items() if name != "MEDAGENT_AGENT_ID"}
    assert resolve(Flags(agent=(agent_file,)), environ).agent_id == ""


def test_a_client_without_a_server_is_warned_of(agent_file: Path) -> None:
    assert "nothing is sent" in resolve(Flags(agent=(agent_file,), client_id="x"), {}).warnings[0]


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
    assert (bootstrap.client_secret, bootstrap.client_secret_file, bootstrap.warnings) == ("from-file", path, ())
    environ = {name: value for name, value in SERVER.items() if name != "MEDAGENT_CLIENT_SECRET"}
    assert resolve(Flags(), {**environ, "MEDAGENT_CLIENT_SECRET_FILE": str(path)}).client_secret == "from-file"
    path.chmod(0o644)
    assert "chmod 600" in resolve(Flags(client_secret_file=path), SERVER).warnings[0]


def test_a_secret_that_cannot_be_read_again_has_no_file(tmp_path: Path) -> None:
    toml = private(tmp_path / "medagent.toml", 'client_secret = "from-toml"')
    environ = {name: value for name, value in SERVER.items() if name != "MEDAGENT_CLIENT_SECRET"}
    assert resolve(Flags(config=toml), environ).client_secret_file is None
    reading, writing = os.pipe()
    os.write(writing, b"from-a-pipe")
    os.close(writing)
    bootstrap = resolve(Flags(client_secret_file=Path(f"/dev/fd/{reading}")), environ)
    os.close(reading)
    assert (bootstrap.client_secret, bootstrap.client_secret_file) == ("from-a-pipe", None)


def test_http_beyond_this_machine_is_warned_of() -> None:
    assert "not encrypted" in resolve(Flags(base_url="http://fhir.example.org"), SERVER).warnings[0]
    for local in ("http://localhost:8103", "http://127.0.0.1:8103/", "http://[::1]:8103"):
        assert resolve(Flags(base_url=local), SERVER).warnings == ()


def test_state_dir() -> None:
    assert default_state_dir({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}) == Path("/var/lib/a")
    assert default_state_dir({"MEDAGENT_STATE_DIR": "/srv/x", "STATE_DIRECTORY": "/var/lib/a"}) == Path("/srv/x")
    assert default_state_dir({}).is_absolute()
    assert resolve(Flags(state_dir=Path("/srv/y")), {**SERVER, "MEDAGENT_STATE_DIR": "/srv/x"}).state_dir == Path("/srv/y")


def test_variables_that_mean_nothing_are_warned_of() -> None:
    environ = {**SERVER, "MEDAGENT_LOGLEVEL": "debug", "MEDAGENT_XYZ": "1", "MEDAGENT_EMPTY": "", "MEDAGENT_FAILPOINT": "x:1"}
    assert resolve(Flags(), environ).warnings == (
        "unknown variable MEDAGENT_LOGLEVEL is ignored; did you mean MEDAGENT_LOG_LEVEL?",
        "unknown variable MEDAGENT_XYZ is ignored",
    )


def test_switches() -> None:
    bootstrap = resolve(Flags(bind="any", no_wait=True, block_plugins=("a",), strict_plugins=True), SERVER)
    assert (bootstrap.bind_any, bootstrap.wait, bootstrap.plugins) == (True, False, PluginOptions(("a",), strict=True))
    assert resolve(Flags(), {**SERVER, "MEDAGENT_BLOCK_PLUGINS": "a, b"}).plugins.blocked == ("a", "b")
    assert Bootstrap().wait


def test_which_plugins_are_loaded(properties: Path, tmp_path: Path) -> None:
    toml = tmp_path / "medagent.toml"
    toml.write_text("load_plugins = ['hospital.lab']\nstrict_plugins = true\nblock_plugins = ['x']")
    environ = {"MEDAGENT_CONFIG": str(toml), "MEDAGENT_BLOCK_PLUGINS": "a b", "MEDAGENT_ALLOW_PLUGINS": "none"}
    options = resolve_plugin_options(Flags(strict_plugins=False), environ)
    assert options == PluginOptions(("a", "b"), (), ("hospital.lab",), strict=False)
    assert resolve_plugin_options(Flags(allow_plugins=("hl7",)), environ).allowed == ("hl7",)
    assert resolve_plugin_options(Flags(), {}) == PluginOptions(allowed=None)
    with properties.open("a") as file:
        file.write("strictPlugins=true\n")
    assert resolve_plugin_options(Flags(properties=properties), {}).strict
    with properties.open("a") as file:
        file.write("strictPlugins=yes\n")
    with pytest.raises(ConfigError, match="strictPlugins: 'yes' is not true or false"):
        resolve_plugin_options(Flags(properties=properties), {})


@pytest.mark.parametrize("module", ["lab.py:x", "a..b", "a-b", ".a"])
def test_a_module_to_load_has_a_name(module: str) -> None:
    with pytest.raises(ConfigError, match=r"--load-plugins: '.+' is no name of a module"):
        resolve(Flags(load_plugins=(module,)), SERVER)
    assert resolve(Flags(no_wait=False), {**SERVER, "MEDAGENT_NO_WAIT": "true"}).wait
    assert not resolve(Flags(), {**SERVER, "MEDAGENT_NO_WAIT": "True"}).wait


def test_medplum_s_log_level_none_does_not_keep_the_agent_from_starting() -> None:
    assert resolve(Flags(), {**SERVER, "MEDAGENT_LOG_LEVEL": "NONE"}).log_level == "error"


def test_the_folder_that_systemd_makes_gives_way_to_one_that_is_asked_for(tmp_path: Path) -> None:
    environ = {**SERVER, "STATE_DIRECTORY": "/var/lib/a"}
    bootstrap = resolve(Flags(), environ)
    assert (bootstrap.state_dir, bootstrap.origins["state_dir"]) == (Path("/var/lib/a"), "STATE_DIRECTORY")
    toml = private(tmp_path / "medagent.toml", 'state_dir = "state"')
    assert resolve(Flags(config=toml), environ).state_dir == tmp_path / "state"
    assert "state_dir" not in resolve(Flags(), SERVER).origins
