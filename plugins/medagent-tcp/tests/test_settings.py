"""The address parameters of a `tcp` Endpoint, from the address to what the channel works by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medagent.config.model import AgentConfig
from medagent.config.problems import Problem, Severity
from medagent.testing.command_line import run_main
from medagent.testing.configured import configured
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent_tcp.settings import ByteStreamSettings


def configured_by(query: str) -> tuple[AgentConfig | None, list[Problem]]:
    return configured(agent_resource({"monitor": "monitor"}), endpoint_resource("monitor", f"tcp://127.0.0.1:4100?{query}"))


def settings_of(query: str) -> ByteStreamSettings:
    config, problems = configured_by(query)
    assert config is not None
    assert not [problem for problem in problems if problem.severity is Severity.ERROR]
    return ByteStreamSettings.from_parameters(config.channels[0].parameters)


def problems_of(query: str) -> list[Problem]:
    _, problems = configured_by(query)
    return [problem for problem in problems if "parameter" in problem.where]


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("startChar=%02&endChar=%03", ByteStreamSettings(0x02, 0x03)),
        ("startChar=%0B&endChar=%1C&maxMessageLength=80", ByteStreamSettings(0x0B, 0x1C, max_message_length=80)),
        ("startChar=%00&endChar=%0D", ByteStreamSettings(0x00, 0x0D)),
        ("startChar=<&endChar=>", ByteStreamSettings(0x3C, 0x3E)),
        ("startChar=%2B&endChar=%26", ByteStreamSettings(0x2B, 0x26)),
        ("startChar=+&endChar=%25", ByteStreamSettings(0x20, 0x25)),
        ("startChar=%C2%80&endChar=%C3%BF", ByteStreamSettings(0x80, 0xFF)),
        ("startChar=ab&endChar=c", ByteStreamSettings(0x61, 0x63)),
        ("startChar=a&endChar=b&ackBytes=06&nakBytes=15 0d", ByteStreamSettings(0x61, 0x62, ack=b"\x06", nak=b"\x15\r")),
    ],
)
def test_what_an_address_says(query: str, settings: ByteStreamSettings) -> None:
    assert settings_of(query) == settings


@pytest.mark.parametrize(
    ("query", "parameter", "reason"),
    [
        ("endChar=%03", "startChar", "required"),
        ("startChar=%02", "endChar", "required"),
        ("startChar=%02&endChar=", "endChar", "required"),
        ("startChar=%02&endChar=%02", "endChar", "the same as startChar"),
        ("startChar=%02&endChar=%FF", "endChar", "such as %C3%BF for FF"),
        ("startChar=€&endChar=%03", "startChar", "up to U+00FF"),
        ("startChar=%02&endChar=%03&ackBytes=06", "nakBytes", "go together"),
        ("startChar=%02&endChar=%03&nakBytes=15", "ackBytes", "go together"),
        ("startChar=%02&endChar=%03&ackBytes=06&nakBytes=06", "nakBytes", "tell them apart"),
        ("startChar=%02&endChar=%03&ackBytes=ACK&nakBytes=15", "ackBytes", "hexadecimal"),
        ("startChar=%02&endChar=%03&nakBytes=15&ackBytes=" + "06" * 65, "ackBytes", "at most 64"),
    ],
)
def test_what_cannot_be_used_keeps_the_channel_from_listening(query: str, parameter: str, reason: str) -> None:
    (problem,) = problems_of(query)
    assert problem.where == f"Agent.channel monitor: Endpoint.address parameter {parameter}"
    assert reason in problem.message
    assert (problem.channel, problem.severity) == ("monitor", Severity.ERROR)


def test_more_than_one_character_is_noted() -> None:
    (problem,) = problems_of("startChar=ab&endChar=c")
    assert (problem.used, problem.severity, problem.channel) == ("the first", Severity.NOTE, "")


def test_other_channels_are_left_alone() -> None:
    _, problems = configured(agent_resource({"adt": "adt"}), endpoint_resource("adt", "mllp://127.0.0.1:2575"))
    assert not [problem for problem in problems if "parameter" in problem.where]


def test_a_check_shows_control_characters(tmp_path: Path) -> None:
    resources = agent_resource({"monitor": "e"}), endpoint_resource("e", "tcp://0.0.0.0:4100?startChar=%1B&endChar=%0A")
    files = [tmp_path / "agent.json", tmp_path / "endpoint.json"]
    for file, resource in zip(files, resources, strict=True):
        file.write_text(json.dumps(resource))
    assert r"startChar=\x1b, endChar=\n" in run_main("check", *map(str, files)).stdout
