"""How what was expected of a configuration and what came differ, for people: by path, and problem by problem."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

# decoded JSON
Json = Any

_NOTHING: Final = object()
MOST = 20
"""Differences that are shown."""


def differences(expected: dict[str, Json], came: dict[str, Json]) -> Iterator[str]:
    """Lines of text. What `expected` does not have is not compared: parts, and fields of the configuration."""
    found: list[tuple[str, str, str]] = []
    if "configuration" in expected:
        found += _values("configuration", expected["configuration"], came["configuration"])
    if "problems" in expected:
        found += _problems(expected["problems"], came["problems"])
    for where, wanted, got in found[:MOST]:
        yield from ("", where, f"    expected  {wanted}", f"    came      {got}")
    if len(found) > MOST:
        yield from ("", f"and {len(found) - MOST} more")


def _values(path: str, expected: Json, came: Json) -> Iterator[tuple[str, str, str]]:
    if isinstance(expected, dict) and isinstance(came, dict):
        for key, value in expected.items():
            yield from _values(f"{path}.{key}", value, came.get(key, _NOTHING))
    elif isinstance(expected, list) and isinstance(came, list):
        for index in range(max(len(expected), len(came))):
            pair = (items[index] if index < len(items) else _NOTHING for items in (expected, came))
            yield from _values(f"{path}[{index}]", *pair)
    # 1 is not true, and 1.0 is no other number than 1
    elif expected != came or isinstance(expected, bool) != isinstance(came, bool):
        yield path, _shown(expected), _shown(came)


def _shown(value: Json) -> str:
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False)
        if len(text) <= 100:
            return text
        name = value.get("name")
        return f"an object with {len(value)} fields" + (f", name {json.dumps(name, ensure_ascii=False)}" if name else "")
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"a list of {len(value)}" if isinstance(value, list) else text[:200] + "…"


def _problems(expected: Json, came: list[Json]) -> Iterator[tuple[str, str, str]]:
    if not isinstance(expected, list):
        yield "problems", "a list", _shown(expected)
        return
    missing, surplus = [one for one in expected if one not in came], [one for one in came if one not in expected]
    for one in missing:
        # another text about the same place is most likely meant for it
        twin = next((other for other in surplus if _place(other) == _place(one)), None)
        if twin is not None:
            surplus.remove(twin)
        yield f"problem at {_place(one)}", _problem(one), _problem(twin) if twin is not None else "nothing"
    for one in surplus:
        yield f"problem at {_place(one)}", "nothing", _problem(one)
    if not missing and not surplus and expected != came:
        yield "problems", f"{len(expected)}, in this order: {_places(expected)}", f"{len(came)}: {_places(came)}"


def _place(problem: Json) -> str:
    return str(problem.get("where")) if isinstance(problem, dict) else "?"


def _places(problems: list[Json]) -> str:
    return ", ".join(map(_place, problems))


def _problem(problem: Json) -> str:
    if not isinstance(problem, dict):
        return _shown(problem)
    used = f"; using {problem['used']}" if problem.get("used") else ""
    return f"{problem.get('severity')}: {problem.get('message')}{used}"
