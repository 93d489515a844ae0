"""The address parameters of an `mllp` Endpoint."""

from __future__ import annotations

import pytest

from medagent.config.model import AgentConfig, ChannelConfig, Value
from medagent.config.settings import Registry
from medagent_hl7 import plugin
from medagent_hl7.charset import InvalidText
from medagent_hl7.owed import AckCondition, AckMode, Mode
from medagent_hl7.settings import Hl7Settings


def declared() -> Registry:
    registry = Registry()
    plugin.medagent_register_settings(registry)
    return registry


def test_defaults_of_declared_parameters() -> None:
    parameters = declared().parameters("mllp")
    defaults = {name: parameter.default for name, parameter in parameters.items() if parameter.default is not None}
    assert Hl7Settings.from_parameters(defaults) == Hl7Settings.from_parameters({}) == Hl7Settings()
    effective = {name for name, parameter in parameters.items() if parameter.effective}
    assert effective >= {
        "ackMessageType", "ackMode", "appLevelAck", "encoding", "enhanced", "invalidText", "missingAckType", "missingControlId",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["enhanced", "appLevelAck", "ackMode", "missingAckType", "invalidText"])
def test_every_declared_choice_is_understood(name: str) -> None:
    for choice in declared().parameters("mllp")[name].choices:
        Hl7Settings.from_parameters({name: choice})


def test_typed_values() -> None:
    parameters: dict[str, Value] = {
        "enhanced": "aa",
        "appLevelAck": "ER",
        "encoding": "ISO-8859-1",
        "ackMode": "message",
        "missingAckType": "AL",
        "ackMessageType": "short",
        "missingControlId": "reject",
        "invalidText": "replace",
    }
    settings = Hl7Settings.from_parameters(parameters)
    assert (settings.mode, settings.app_level_ack) == (Mode.AA, AckCondition.ER)
    assert "ü".encode(settings.codec) == b"\xfc"
    assert (settings.ack_mode, settings.missing_ack_type) == (AckMode.MESSAGE, AckCondition.AL)
    assert settings.short_ack_type
    assert settings.reject_missing_control_id
    assert settings.invalid_text is InvalidText.REPLACE


@pytest.mark.parametrize(("encoding", "count"), [("utf-8", 0), ("CP1252", 0), ("klingon", 1), ("hex", 1), ("utf-16", 1)])
def test_unusable_encoding_is_a_problem(encoding: str, count: int) -> None:
    def channel(scheme: str) -> ChannelConfig:
        return ChannelConfig("lab", scheme, "127.0.0.1", 2575, "", parameters={"encoding": encoding})

    config = AgentConfig("1", "agent", channels=(channel("mllp"), channel("other")))
    problems = plugin.medagent_validate_config(config)
    assert len(problems) == count
    assert all("lab" in problem.where and encoding in problem.message for problem in problems)
    assert Hl7Settings.from_parameters({"encoding": "klingon"}).codec == "utf-8"
