"""What is in force and who said so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medagent.config.bootstrap import resolve
from medagent.config.build import build
from medagent.config.in_force import describe_agent, describe_start
from medagent.config.options import OPTIONS, Flags
from medagent.fhir.source import Source
from medagent.plugins import build_registry
from medagent.testing.resources import agent_resource, endpoint_resource

REGISTRY, SCHEMES = build_registry()


# the values are decoded JSON
def by_name(rows: Any) -> dict[str, tuple[Any, str]]:
    """Value and origin."""
    return {row["name"]: (row["value"], row["origin"]) for row in rows}


def test_every_option_is_there_with_its_origin_and_no_secret(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush-hush")
    secret.chmod(0o600)
    environ = {
        "MEDAGENT_BASE_URL": "https://fhir.example.org",
        "MEDAGENT_CLIENT_ID": "c",
        "MEDAGENT_CLIENT_SECRET_FILE": str(secret),
        "MEDAGENT_AGENT_ID": "Agent/a",
        "MEDAGENT_PROXY": "http://u:hush-hush@proxy:1",
        "MEDAGENT_BIND": "any",
    }
    described = describe_start(resolve(Flags(no_wait=True, state_dir=tmp_path), environ))
    assert "hush-hush" not in json.dumps(described)
    options = by_name(described["options"])
    assert list(options) == [name for name in OPTIONS if name != "client_secret_file"]
    assert {name: value for name, value in options.items() if value[1] != "default"} == {
        "base_url": ("https://fhir.example.org/", "MEDAGENT_BASE_URL"),
        "client_id": ("c", "MEDAGENT_CLIENT_ID"),
        "client_secret": ("set", f"file {secret}, named by MEDAGENT_CLIENT_SECRET_FILE"),
        "agent_id": ("a", "MEDAGENT_AGENT_ID"),
        "proxy": ("http://***@proxy:1", "MEDAGENT_PROXY"),
        "state_dir": (str(tmp_path), "--state-dir"),
        "bind": ("any", "MEDAGENT_BIND"),
        "no_wait": (True, "--no-wait"),
    }
    assert options["log_level"] == ("info", "default")


def described(settings: Any, address: str = "mllp://[::1]:2575") -> Any:
    """Of an Agent with these settings and one channel, as decoded JSON."""
    source = Source(agent_resource({"adt": "ep"}, settings), {"Endpoint/ep": endpoint_resource("ep", address)})
    config, _ = build(source, REGISTRY, schemes=SCHEMES, local=False)
    assert config is not None
    return json.loads(json.dumps(describe_agent(config, REGISTRY)))


def test_settings_say_whether_the_agent_gives_them() -> None:
    settings = by_name(described({"batchSize": 100, "batchFlushMs": 7})["settings"])
    assert (settings["batchSize"], settings["batchFlushMs"]) == ((100, "Agent"), (7, "Agent"))
    assert settings["maxInFlight"] == (1000, "default")
    assert settings["queueStrategy"] == ("batched", "default")
    assert "durableQueue" not in settings  # it has no effect, so it is not in force


@pytest.mark.parametrize(
    "settings",
    [
        [{"name": "batchSize", "valueInteger": 0}],
        [{"name": "batchSize", "valueString": "5"}, {"name": "batchSize", "valueInteger": 5}],
    ],
)
def test_a_faulty_setting_is_not_the_agent_s(settings: Any) -> None:
    assert by_name(described(settings)["settings"])["batchSize"] == (100, "default")


def test_a_setting_that_gives_way_to_another_is_not_the_agent_s() -> None:
    settings = by_name(described({"channelAutoRetryBaseDelayMs": 5000, "channelAutoRetryMaxDelayMs": 1000})["settings"])
    assert settings["channelAutoRetryBaseDelayMs"] == (1000, "default")
    assert settings["channelAutoRetryMaxDelayMs"] == (1000, "Agent")


def test_parameters_of_channels() -> None:
    (channel,) = described({}, "mllp://u:hush@[::1]:2575?enhanced=AA&enhanced=true&maxConnections=x&token=hush")["channels"]
    assert "hush" not in json.dumps(channel)
    assert (channel["name"], channel["address"], channel["enabled"]) == ("adt", "mllp://[::1]:2575", True)
    parameters = by_name(channel["parameters"])
    assert parameters["enhanced"] == ("aa", "Endpoint")
    assert parameters["maxConnections"] == (1000, "default")
    assert parameters["allow"] == (None, "default")
