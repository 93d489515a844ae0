"""The address parameters of an `astm` Endpoint, from the address to what the channel works by."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medagent.config.problems import Severity
from medagent.testing.configured import configured
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent_astm.events import Timing
from medagent_astm.settings import PARAMETERS, Settings

README = Path(__file__).parents[1] / "README.md"


def settings_of(query: str) -> tuple[Settings, list[str]]:
    """What the channel works by, and the parameters that are wrong."""
    endpoint = endpoint_resource("lab", f"astm://127.0.0.1:4000?{query}")
    config, problems = configured(agent_resource({"lab": "lab"}), endpoint)
    assert config is not None
    wrong = [problem.where.partition("?")[2] for problem in problems if problem.severity is Severity.ERROR]
    return Settings.from_parameters(config.channels[0].parameters), wrong


def test_the_defaults_are_those_of_the_standard() -> None:
    assert settings_of("") == (
        Settings(
            encoding="iso-8859-1",
            strict=True,
            needs_terminator=True,
            frame_length=247,
            by_record=True,
            timing=Timing(reply=15.0, receive=30.0, busy=10.0, contention=20.0, interrupt=15.0),
            refusal_seconds=1.0,
            answer_seconds=120.0,
        ),
        [],
    )


def test_what_an_address_says() -> None:
    settings, wrong = settings_of(
        "encoding=Windows-1252&checksum=LENIENT&messageEnd=transmission&frameLength=64000&answerFrames=message"
        "&duplicateBehavior=accept&replyTimeoutMs=1&answerTimeoutMs=250"
    )
    assert not wrong
    assert (settings.encoding, settings.frame_length) == ("windows-1252", 64_000)
    assert (settings.strict, settings.needs_terminator, settings.by_record) == (False, False, False)
    assert (settings.timing.reply, settings.answer_seconds) == (0.001, 0.25)


@pytest.mark.parametrize(
    "parameter",
    ["encoding=klingon", "checksum=none", "frameLength=7", "frameLength=64001", "busyWaitMs=0", "answerTimeoutMs=86400001"],
)
def test_a_mistake_is_a_problem_and_the_default_is_used(parameter: str) -> None:
    assert settings_of(parameter) == (settings_of("")[0], [parameter.partition("=")[0]])


def test_every_parameter_is_in_the_readme_with_its_default() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]*) \| ([^|]*) \|", README.read_text(), re.MULTILINE)
    listed = {name: default for names, _, default in rows for name in re.findall(r"`(\w+)`", names)}
    assert {parameter.name for parameter in PARAMETERS} == listed.keys()
    limits = ("maxConnections", "maxBufferedBytes", "idleTimeoutMs", "writeTimeoutMs")
    for parameter in PARAMETERS:
        if parameter.name not in limits:
            assert listed[parameter.name] == f"`{parameter.default}`"


def test_every_encoding_is_known_to_python() -> None:
    [encoding] = [parameter for parameter in PARAMETERS if parameter.name == "encoding"]
    for name in encoding.choices:
        assert "H".encode(name) == b"H"
