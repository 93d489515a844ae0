"""Checks of one value against what its Setting or Parameter declares."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from medagent.config.model import Value

if TYPE_CHECKING:
    from medagent.config.settings import Parameter, Setting

INTEGER_MINIMUM, INTEGER_MAXIMUM = -(2**31), 2**31 - 1
"""https://hl7.org/fhir/R4B/datatypes.html#integer"""

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?")


def is_json_type(value: object, kind: type[Value]) -> bool:
    """Whether a decoded JSON value is of the JSON type that holds `kind`: 1.0 and true are no integers, "1" is no number."""
    if kind is bool:
        return isinstance(value, bool)
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return True
    return kind is float and isinstance(value, float) and math.isfinite(value)


def in_bounds(value: Value, item: Setting | Parameter) -> bool:
    """Whether a value of the right type is one that `item` takes."""
    if isinstance(value, str):
        return value in item.choices if item.choices else bool(value.strip())
    if isinstance(value, bool):
        return True
    lowest, highest = (INTEGER_MINIMUM, INTEGER_MAXIMUM) if item.type is int else (-math.inf, math.inf)
    return max(lowest, _or(item.minimum, lowest)) <= value <= min(highest, _or(item.maximum, highest))


def from_text(text: str, parameter: Parameter) -> Value | None:
    """The typed value of a URL parameter; None if the text is none that it takes. Booleans and choices in any case."""
    if parameter.type is bool:
        return {"true": True, "false": False}.get(text.lower())
    value: Value
    if parameter.type is int:
        if not _INTEGER.fullmatch(text):
            return None
        value = int(text)
    elif parameter.type is float:
        if not _DECIMAL.fullmatch(text):
            return None
        value = float(text)
    else:
        value = next((choice for choice in parameter.choices if choice.lower() == text.lower()), text)
        if parameter.blank and text:
            return value
    return value if in_bounds(value, parameter) else None


def _or(bound: float | None, otherwise: float) -> float:
    return otherwise if bound is None else bound
