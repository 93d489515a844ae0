"""medagent.toml: typed options, faults that name file, key and what is wanted, and no value."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.options import Layer
from medagent.config.toml_file import read_toml
from medagent.errors import ConfigError


def read(folder: Path, text: str | bytes) -> tuple[Layer, list[str]]:
    path = folder / "medagent.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    faults: list[str] = []
    return read_toml(path, faults), [fault.removeprefix(f"{path}: ") for fault in faults]


def test_values_by_type(tmp_path: Path) -> None:
    text = """
        base_url = "https://fhir.example.org/"
        agent = ["a.json", "/srv/b.json"]
        ca_file = "ca.pem"
        no_wait = true
        block_plugins = ["x", "y z"]
        proxy = ""
        client_id = ""
        state_dir = "" # as good as absent
    """
    layer, faults = read(tmp_path, text)
    assert faults == []
    assert {name: given.value for name, given in layer.items()} == {
        "base_url": "https://fhir.example.org/",
        "agent": (tmp_path / "a.json", Path("/srv/b.json")),
        "ca_file": tmp_path / "ca.pem",
        "no_wait": True,
        "block_plugins": ("x", "y z"),
    }
    assert layer["ca_file"].origin == f"{tmp_path / 'medagent.toml'}: ca_file"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("base_url = 5", "base_url is a whole number; wanted is a text"),
        ("client_secret = 12345678", "client_secret is a whole number; wanted is a text"),
        ("ca_file = 1.5", "ca_file is a number; wanted is a text, a path"),
        ("no_wait = 'true'", "no_wait is a text; wanted is true or false"),
        ("no_wait = 1", "no_wait is a whole number; wanted is true or false"),
        ("agent = 'a.json'", "agent is a text; wanted is a list of texts, paths"),
        ("agent = [1]", "agent is a list; wanted is a list of texts, paths"),
        ("block_plugins = ['']", "block_plugins is a list; wanted is a list of texts"),
        ("log_level = true", "log_level is true or false; wanted is a text"),
        ("bind = 2026-01-01", "bind is a date or time; wanted is a text"),
        ("[bind]", "bind is a table; wanted is a text"),
        ("base-url = 'x'", "unknown key 'base-url'; did you mean base_url?"),
        ("baseUrl = 'x'", "unknown key 'baseUrl'; did you mean base_url?"),
        ("[server]", "unknown key 'server'"),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    layer, faults = read(tmp_path, text)
    assert faults == [fault]
    assert layer == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('base_url = "x"\nclient_secret = hush\n', r"not TOML: .*line 2"),
        ("a = 1\na = 2\n", r"not TOML: .*line 2"),
        (b"\xff", "not UTF-8 text"),
        ("a = " + "1" * 10_000, "a number that is far too long"),
        ("a = " + "[" * 100_000, "nested too deeply"),
    ],
)
def test_no_toml(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"medagent\.toml: .*{reason}") as caught:
        read(tmp_path, content)
    assert "hush" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: No such file"):
        read_toml(tmp_path / "nowhere", [])
