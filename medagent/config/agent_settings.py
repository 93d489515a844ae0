"""Agent.setting: from raw JSON to typed values, every problem found at once.

The JSON types are checked here, on the raw data: fhir.resources takes true and "50" for integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from medagent.config.builtin import MAX_CLIENTS_WITH_KEEP_ALIVE
from medagent.config.model import Value
from medagent.config.problems import Problem, Severity
from medagent.config.settings import FIELD_OF_TYPE, Registry, Setting, nearest
from medagent.config.values import in_bounds, is_json_type
from medagent.config.wording import default_used, from_findings, show
from medagent.fhir.validation import SETTING, validate
from medagent.printable import printable

TYPE_OF_FIELD = {name: kind for kind, name in FIELD_OF_TYPE.items()}
_SHORT = {
    "valueBoolean": "true or false",
    "valueInteger": "a whole number",
    "valueDecimal": "a number",
    "valueString": "a text",
}


@dataclass(slots=True)
class ParsedSettings:
    """What the settings of an Agent say."""

    values: dict[str, Value] = field(default_factory=dict)
    """Every known setting that is set or has a default, by name."""
    given: dict[str, Value] = field(default_factory=dict)
    """Those of them that the Agent gives, without fault."""
    # decoded JSON, of which only what is checked here is known
    sound: list[Mapping[str, Any]] = field(default_factory=list)
    """The entries without fault."""
    problems: list[Problem] = field(default_factory=list)


# here and below: decoded JSON that nobody has validated yet
def parse_settings(raw: Any, registry: Registry) -> ParsedSettings:
    """Read Agent.setting (None if it is absent). A faulty entry is set aside, and the default is used."""
    parsed = ParsedSettings()
    given = parsed.given
    first: dict[str, str] = {}  # where a name stands first: that entry counts, even if it is faulty
    faulty: list[tuple[Problem, Setting | None]] = []
    if raw is not None and not isinstance(raw, list):
        parsed.problems.append(Problem("Agent.setting", f"a list is expected, found {show(raw)}", "the defaults"))
    for index, entry in enumerate(raw if isinstance(raw, list) else []):
        where = f"Agent.setting[{index}]"
        name = entry.get("name") if isinstance(entry, dict) else None
        setting = registry.setting(name) if isinstance(name, str) else None
        problems = _entry_problems(entry, where, setting, registry)
        if isinstance(name, str) and name in first:
            faulty.append((Problem(f"{where}.name", f"{show(name)} is set again", first[name]), None))
            faulty += [(problem, None) for problem in problems]
        elif problems:
            faulty += [(problem, setting) for problem in problems]
        else:
            parsed.sound.append(entry)
            if setting is not None:
                given[setting.name] = entry[setting.field]
                if not setting.effective:
                    note = f"{setting.name} is known, but has no effect ({setting.help.rstrip('.')})"
                    faulty.append((Problem(where, note, severity=Severity.NOTE), None))
        if isinstance(name, str):
            first.setdefault(name, where)
    parsed.values = {
        setting.name: default for setting in registry.settings() if (default := setting.default) is not None
    } | given
    if parsed.values.get("keepAlive") is True and "maxClientsPerRemote" not in given:
        parsed.values["maxClientsPerRemote"] = MAX_CLIENTS_WITH_KEEP_ALIVE
    for problem, setting in faulty:
        used = default_used(parsed.values.get(setting.name)) if setting is not None else problem.used
        parsed.problems.append(replace(problem, used=used))
    return parsed


def _entry_problems(entry: Any, where: str, setting: Setting | None, registry: Registry) -> list[Problem]:
    if not isinstance(entry, dict):
        return [Problem(where, f"an object with name and value is expected, found {show(entry)}")]
    name = entry.get("name")
    problems = []
    if not isinstance(name, str) or not name:
        found = f", found {show(name)}" if "name" in entry else ""
        problems.append(Problem(f"{where}.name", f"a name is required{found}"))
    elif setting is None:
        guess = nearest(name, (known.name for known in registry.settings()))
        hint = f"; did you mean {guess}?" if guess else "; no plugin declares it (see `medagent plugins`)"
        problems.append(Problem(f"{where}.name", f"unknown setting {show(name)}{hint}"))
    problems += _value_problems(entry, where, setting)
    if not problems:
        problems = from_findings(where, validate(SETTING, entry))
    return problems


def _value_problems(entry: Mapping[str, Any], where: str, setting: Setting | None) -> list[Problem]:
    fields = [name for name in entry if name.startswith("value")]
    wanted = f"{setting.field}, {setting.allowed}" if setting is not None else "one of " + ", ".join(TYPE_OF_FIELD)
    if not fields:
        return [Problem(where, f"a value is required: {wanted}")]
    if len(fields) > 1:
        return [Problem(where, f"exactly one value is allowed, found {' and '.join(map(printable, fields))}")]
    name = fields[0]
    value = entry[name]
    if name not in TYPE_OF_FIELD:
        return [Problem(f"{where}.{printable(name)}", f"no value that a setting can have; wanted is {wanted}")]
    location = f"{where}.{name}"
    if setting is None:
        kind = TYPE_OF_FIELD[name]
        if not is_json_type(value, kind):
            return [Problem(location, f"found {show(value)}, wanted is {_SHORT[name]}")]
        if not in_bounds(value, Setting("", kind, None, "")):
            return [Problem(location, f"found {show(value)}, which FHIR does not allow there")]
        return []
    if name != setting.field:
        return [Problem(location, f"{setting.name} is given as {name} {show(value)}; wanted is {wanted}")]
    if not is_json_type(value, setting.type) or not in_bounds(value, setting):
        return [Problem(location, f"{setting.name} is {show(value)}; wanted is {setting.allowed}")]
    return []
