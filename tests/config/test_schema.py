"""The JSON Schema of the settings says what `medagent check` says, of the fixtures and of values at every limit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from jsonschema import Draft202012Validator

from medagent.config.address import parse_parameters
from medagent.config.agent_settings import parse_settings
from medagent.config.problems import Problem, Severity
from medagent.config.schema import make_schema
from medagent.config.settings import FIELD_OF_TYPE, Parameter, Registry, Setting
from medagent.fhir.source import from_files
from medagent.plugins import build_registry

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
REGISTRY, _ = build_registry()
SCHEMA = make_schema(REGISTRY)
VALIDATOR = Draft202012Validator(SCHEMA)


def part(name: str) -> Draft202012Validator:
    """A validator of one part of the schema, such as `settings` or `parameters/properties/mllp`."""
    return Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{name}", "required": [], "properties": {}})


def refused(agent: dict[str, Any]) -> set[int | str]:
    """The positions of the settings that the schema refuses, "twice" if a name is there again, "" for the whole list."""
    found: set[int | str] = set()
    for error in VALIDATOR.iter_errors(agent):
        place = list(error.path)
        assert place[:1] == ["setting"], error.message
        found.add(place[1] if len(place) > 1 else "" if error.validator == "type" else "twice")
    return found


def checked(agent: dict[str, Any]) -> set[int | str]:
    """The same by `medagent check`."""
    found: set[int | str] = set()
    for problem in parse_settings(agent.get("setting"), REGISTRY).problems:
        if problem.severity is Severity.ERROR:
            found.add(_position(problem))
    return found


def _position(problem: Problem) -> int | str:
    if "is set again" in problem.message:
        return "twice"
    return int(problem.where.split("[")[1].split("]")[0]) if "[" in problem.where else ""


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == "urn:medagent:settings"


@pytest.mark.parametrize("folder", sorted(path.parent for path in FIXTURES.glob("*/agent.json")), ids=lambda path: path.name)
async def test_it_refuses_of_a_fixture_what_check_does(folder: Path) -> None:
    agent = dict((await from_files([folder / "agent.json"])).agent)
    assert refused(agent) == checked(agent)


def test_the_fixtures_have_faulty_settings() -> None:
    assert len(list(FIXTURES.glob("setting-*/agent.json"))) > 10


VALUES = (True, False, 0, -1, 2**31 - 1, 2**31, -(2**31), 1.5, 0.5, -0.5, "", " ", "x", "true", "1", None, [], {})


def around(item: Setting | Parameter) -> Iterator[Any]:
    """Values of every type, and those at the limits of this one."""
    yield from VALUES
    yield from item.choices
    yield from (choice.upper() for choice in item.choices)
    for bound in (item.minimum, item.maximum):
        if bound is not None:
            yield from (bound - 1, bound, bound + 1)


@pytest.mark.parametrize("setting", REGISTRY.settings(), ids=lambda setting: setting.name)
def test_it_takes_and_refuses_the_same_values(setting: Setting) -> None:
    for field, value in itertools.product((*FIELD_OF_TYPE.values(), "valueCode"), around(setting)):
        agent = {"resourceType": "Agent", "setting": [{"name": setting.name, field: value}]}
        assert refused(agent) == checked(agent), (field, value)


@pytest.mark.parametrize("setting", REGISTRY.settings(), ids=lambda setting: setting.name)
def test_the_form_of_a_setting_has_its_limits_and_its_own_default(setting: Setting) -> None:
    form = part("settings")
    for value in around(setting):
        entry = {"name": setting.name, setting.field: value}
        assert form.is_valid({setting.name: value}) == (not checked({"setting": [entry]})), value
    shown = SCHEMA["$defs"]["settings"]["properties"][setting.name]
    assert shown.get("default") == setting.default
    assert (shown["x-medagent-element"], shown["x-medagent-plugin"]) == (setting.field, setting.declared_by)
    assert not form.is_valid({f"{setting.name}x": setting.default})


SCHEMES = sorted({scheme for parameter in REGISTRY.all_parameters() for scheme in parameter.schemes})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_parameters_of_a_scheme(scheme: str) -> None:
    form = part(f"parameters/properties/{scheme}")
    known = REGISTRY.parameters(scheme)
    assert form.is_valid({name: item.default for name, item in known.items() if item.default is not None})
    assert not form.is_valid({"unknownOne": 1})
    for name, item in known.items():
        # as an editor writes it into the address
        for value in (value for value in around(item) if isinstance(value, bool | int | float | str)):
            if isinstance(value, str) and value in {choice.upper() for choice in item.choices} - set(item.choices):
                continue  # the address takes choices in any case, and a form has no need to
            if isinstance(value, str) is not (item.type is str) or isinstance(value, bool) is not (item.type is bool):
                continue  # in an address everything is a text
            problems: list[Problem] = []
            text = str(value).lower() if isinstance(value, bool) else str(value)
            parse_parameters(urlencode({name: text}), "Endpoint/e.address", known, (), problems)
            found = any(problem.severity is Severity.ERROR for problem in problems)
            assert form.is_valid({name: value}) == (not found), (name, value)


def test_an_editor_finds_what_it_shows() -> None:
    registry = Registry()
    registry.declaring_as("acme")
    registry.add_setting(Setting("acmeRetryDelayMs", int, 5, "delay of a retry", minimum=1, maximum=9, effective=False))
    registry.add_setting(Setting("acmeUrl", str, "", "Where to."))
    registry.add_parameter(Parameter("mode", ("acme",), str, "a", "How.", choices=("a", "b"), guards=True, live=False))
    definitions = make_schema(registry)["$defs"]
    assert definitions["settings"]["properties"] == {
        "acmeRetryDelayMs": {
            "title": "Acme retry delay ms",
            "description": "Delay of a retry.",
            "type": "integer",
            "default": 5,
            "minimum": 1,
            "maximum": 9,
            "x-medagent-plugin": "acme",
            "x-medagent-effective": False,
            "x-medagent-element": "valueInteger",
        },
        "acmeUrl": {
            "title": "Acme url",
            "description": "Where to.",
            "type": "string",
            "pattern": "\\S",
            "x-medagent-plugin": "acme",
            "x-medagent-effective": True,
            "x-medagent-element": "valueString",
        },
    }
    assert definitions["parameters"]["properties"]["acme"]["properties"]["mode"] == {
        "title": "Mode",
        "description": "How.",
        "type": "string",
        "default": "a",
        "enum": ["a", "b"],
        "x-medagent-plugin": "acme",
        "x-medagent-effective": True,
        "x-medagent-live": False,
        "x-medagent-guards": True,
    }
