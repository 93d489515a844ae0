"""`medagent settings`."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from medagent.plugins import build_registry
from medagent.testing.command_line import run_main


def test_everything_that_is_declared_is_listed() -> None:
    done = run_main("settings", "--format", "json")
    assert done.exit_code == 0
    registry, _ = build_registry()
    assert {item["name"] for item in done.json["settings"]} == {item.name for item in registry.settings()}
    assert {item["name"] for item in done.json["parameters"]} == {item.name for item in registry.all_parameters()}
    text = run_main("settings").stdout.splitlines()
    for item in (*registry.settings(), *registry.all_parameters()):
        assert [line for line in text if line.split()[:1] == [item.name]], item.name


def test_a_setting_and_a_parameter_in_full() -> None:
    done = run_main("settings", "batchsize", "--format", "json")
    assert done.json == {
        "settings": [
            {
                "name": "batchSize",
                "element": "valueInteger",
                "type": "integer",
                "default": 100,
                "minimum": 1,
                "maximum": 10_000,
                "choices": [],
                "allowed": "a whole number from 1 to 10000",
                "help": "Messages a commit.",
                "declared_by": "config",
                "effective": True,
            }
        ],
        "parameters": [],
    }
    [parameter] = run_main("settings", "allowNames", "--format", "json").json["parameters"]
    assert (parameter["schemes"], parameter["live"], parameter["guards"]) == (["mllps"], True, True)
    assert parameter["declared_by"] == "hl7"


def test_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    done = run_main("settings", "batchAdaptive")
    assert done.stdout.splitlines() == [
        "Settings of the Agent (Agent.setting)",
        "",
        "batchAdaptive = true",
        "    Commit as soon as the writer is idle; false waits until",
        "    `batchSize` or `batchFlushMs` is reached.",
        "    valueBoolean, true or false; declared by config",
        "",
    ]
    unset = run_main("settings", "queueDbPath").stdout
    assert "queueDbPath  (unset)" in unset
    assert "without effect" in unset


@pytest.mark.parametrize("columns", ["60", "100", "200"])
def test_no_line_is_wider_than_the_terminal_or_than_can_be_read(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, run_main("settings").stdout.splitlines())) <= min(int(columns), 100)


def test_the_parameters_of_one_scheme() -> None:
    done = run_main("settings", "--scheme", "mllp", "--format", "json")
    assert done.json["settings"] == []
    names = {item["name"] for item in done.json["parameters"]}
    assert "enhanced" in names
    assert "certFile" not in names, "of mllps"
    [one] = run_main("settings", "ENH", "--scheme", "mllp", "--format", "json").json["parameters"]
    assert one["name"] == "enhanced"


def test_what_is_not_there() -> None:
    done = run_main("settings", "bacthSize")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "did you mean batchSize?" in done.stderr
    assert run_main("settings", "bacthSize", "--format", "json").json == {"settings": [], "parameters": []}
    done = run_main("settings", "--scheme", "mlpp")
    assert done.exit_code == 2
    assert "mllp, mllps" in done.stderr


def test_the_schema() -> None:
    done = run_main("settings", "--schema")
    assert done.exit_code == 0
    Draft202012Validator.check_schema(done.json)
    assert "batchSize" in done.json["$defs"]["settings"]["properties"]
    assert run_main("settings", "--schema", "batch").exit_code == 2
