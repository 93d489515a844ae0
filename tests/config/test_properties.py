"""agent.properties as Medplum's agent reads it, but values keep their `=`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.config.options import OPTIONS
from medagent.config.properties import KEYS, parse_properties, read_properties
from medagent.errors import ConfigError


def test_values_are_taken_whole() -> None:
    text = "# a comment\nbaseUrl=https://fhir.example.org/\r\n\nclientSecret=a=b==\n clientId = c1 \nagentId=\n"
    properties = parse_properties(text, "agent.properties")
    assert properties.values == {"baseUrl": "https://fhir.example.org/", "clientSecret": "a=b==", "clientId": "c1"}
    assert properties.notes == ()


def test_what_is_not_understood_is_noted_without_its_value() -> None:
    properties = parse_properties("logger.main.logDir=/var/log\nclientSecert=hush\nhush\n=hush", "p")
    assert properties.values == {}
    assert properties.notes == (
        "p, line 1: logger.main.logDir is ignored; medagent logs to standard error",
        "p, line 2: unknown key clientSecert is ignored; did you mean clientSecret?",
        "p, line 3: ignored, it is not key=value",
        "p, line 4: ignored, no key stands before its =",
    )


def test_the_last_of_a_key_counts_and_is_noted() -> None:
    properties = parse_properties("clientSecret=hush\nclientId=c\nclientSecret=hush2\n", "p")
    assert properties.values == {"clientSecret": "hush2", "clientId": "c"}
    assert properties.notes == ("p, line 3: clientSecret is given again; this line counts, and none before it",)


def test_every_key_of_medplum_s_agent_is_understood_or_noted() -> None:
    keys = ("logDir", "maxFileSizeMb", "filesToKeep", "logLevel")
    logger = [f"logger.{which}.{key}" for which in ("main", "channel") for key in keys]
    known = ["baseUrl", "clientId", "clientSecret", "agentId", "logLevel"]
    own = {"strictPlugins"}
    properties = parse_properties("".join(f"{key}=x\n" for key in [*known, *logger]), "p")
    assert properties.values == dict.fromkeys(known, "x")
    assert ["is ignored; medagent logs to standard error" in note for note in properties.notes] == [True] * 8
    assert set(known) | own == {option.properties for option in OPTIONS.values() if option.properties} == set(KEYS)


@given(st.sampled_from(KEYS), st.from_regex(r"[!-~]{1,20}", fullmatch=True))
def test_any_value_survives(key: str, value: str) -> None:
    assert parse_properties(f"{key}={value}", "p").values == {key: value}


def test_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "agent.properties"
    path.write_bytes(b"\xef\xbb\xbfbaseUrl=http://localhost/")
    assert read_properties(path).values == {"baseUrl": "http://localhost/"}


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_an_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "agent.properties"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"agent\.properties: (No such file|not UTF-8)"):
        read_properties(path)
