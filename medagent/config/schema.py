"""A JSON Schema (2020-12) of what is declared, for editors of settings: forms, and an Agent checked by it as it stands.

What it refuses is what `medagent check` finds wrong with a setting's name, type, bounds or number of values. What concerns
several settings at once is left to `medagent check`; and JSON Schema takes 1.0 for a whole number.
"""

from __future__ import annotations

import re
from typing import Any

from medagent import __version__
from medagent.config.reference import help_text, parameters_of, settings_of
from medagent.config.settings import FIELD_OF_TYPE, Parameter, Registry, Setting
from medagent.config.values import INTEGER_MAXIMUM, INTEGER_MINIMUM

ID = "urn:medagent:settings"
"""`$id` of the schema; what is in it depends on the version and the plugins that are installed."""

# JSON, nested by kind
Schema = dict[str, Any]

_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_FIELDS = tuple(FIELD_OF_TYPE.values())
_EXTENSIONS: Schema = {
    "id": {"type": "string"},
    "extension": {"type": "array"},
    "modifierExtension": {"type": "array"},
    **{f"_{name}": {"type": "object"} for name in ("name", *_FIELDS)},
}
"""What FHIR allows beside name and value (https://hl7.org/fhir/R4B/backboneelement.html)."""


def make_schema(registry: Registry) -> Schema:
    """The schema of an Agent, with three parts to be used by themselves.

    `#/$defs/settings` is an object with a property for each setting, for a form; `#/$defs/agentSetting` the list that
    `Agent.setting` is; `#/$defs/parameters` has an object for each URL scheme, with a property for each address parameter.
    """
    settings = settings_of(registry)
    parameters = parameters_of(registry)
    schemes = sorted({scheme for item in parameters for scheme in item.schemes})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "Agent of medagent",
        "x-medagent-version": __version__,
        "type": "object",
        "required": ["resourceType"],
        "properties": {"resourceType": {"const": "Agent"}, "setting": {"$ref": "#/$defs/agentSetting"}},
        "$defs": {
            "settings": _object("Settings", {item.name: _of_setting(item) for item in settings}),
            "agentSetting": _agent_setting(settings),
            "parameters": _object(
                "Parameters of Endpoint.address by URL scheme",
                {
                    scheme: _object(
                        f"Parameters of {scheme}",
                        {item.name: _of_parameter(item) for item in parameters if scheme in item.schemes},
                    )
                    for scheme in schemes
                },
            ),
        },
    }


def _object(title: str, properties: Schema) -> Schema:
    return {"title": title, "type": "object", "properties": properties, "additionalProperties": False}


def _agent_setting(settings: list[Setting]) -> Schema:
    """The list of FHIR's form: `{"name": "batchSize", "valueInteger": 500}`, each name once."""
    names = [item.name for item in settings]
    entry = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": names}, **dict.fromkeys(_FIELDS, True), **_EXTENSIONS},
        "additionalProperties": False,
        "allOf": [{"if": _named(item.name), "then": _valued(item)} for item in settings],
    }
    once = [{"contains": _named(name), "minContains": 0, "maxContains": 1} for name in names]
    return {"title": "Agent.setting", "type": "array", "items": entry, "allOf": once}


def _named(name: str) -> Schema:
    return {"type": "object", "required": ["name"], "properties": {"name": {"const": name}}}


def _valued(item: Setting) -> Schema:
    """The value of this setting, in its element and in no other."""
    others: Schema = {field: False for field in _FIELDS if field != item.field}
    value = {item.field: {"$ref": f"#/$defs/settings/properties/{item.name}"}}
    return {"required": [item.field], "properties": value | others}


def _of_setting(item: Setting) -> Schema:
    return _value(item) | {"x-medagent-element": item.field}


def _of_parameter(item: Parameter) -> Schema:
    return _value(item) | {"x-medagent-live": item.live, "x-medagent-guards": item.guards}


def _value(item: Setting | Parameter) -> Schema:
    """One value: type and limits, and what a form shows."""
    schema: Schema = {"title": _title(item.name), "description": help_text(item), "type": _JSON_TYPES[item.type]}
    if item.default is not None and item.default != "":
        schema["default"] = item.default
    if item.type is int:
        schema["minimum"], schema["maximum"] = INTEGER_MINIMUM, INTEGER_MAXIMUM
    for name in ("minimum", "maximum"):
        if (bound := getattr(item, name)) is not None:
            schema[name] = bound
    if item.choices:
        schema["enum"] = list(item.choices)
    elif item.type is str:
        schema |= {"minLength": 1} if isinstance(item, Parameter) and item.blank else {"pattern": r"\S"}
    return schema | {"x-medagent-plugin": item.declared_by, "x-medagent-effective": item.effective}


def _title(name: str) -> str:
    """`batchFlushMs` as `Batch flush ms`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[._-]+", " ", name).split()
    text = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return text[:1].upper() + text[1:]
