"""Whether a plugin declares a Setting or Parameter that makes sense: a mistake in it must show when the plugin is loaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medagent.config.values import INTEGER_MAXIMUM, INTEGER_MINIMUM, in_bounds, is_json_type
from medagent.errors import PluginError

if TYPE_CHECKING:
    from medagent.config.settings import Parameter, Setting

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
"""RFC 3986, 3.1, in lower case, as `Endpoint.address` is read."""


def check_declaration(item: Setting | Parameter) -> None:
    """Raise `PluginError` with all that is wrong with a declaration; a plugin may hold anything in its fields."""
    kind = "parameter" if hasattr(item, "schemes") else "setting"
    if faults := [*_faults(item)]:
        raise PluginError(f"{kind} {item.name!r} is not declared as it should be: {'; '.join(faults)}")


def check_schemes(parameter: Parameter) -> None:
    """Raise `PluginError` unless a parameter names its schemes as `Endpoint.address` has them."""
    schemes = parameter.schemes
    if not isinstance(schemes, tuple) or not schemes or not all(isinstance(each, str) for each in schemes):
        raise PluginError(f"parameter {parameter.name!r} needs its schemes, a tuple of texts such as ('mllp',)")
    for scheme in schemes:
        if not _SCHEME.fullmatch(scheme):
            raise PluginError(f"parameter {parameter.name!r}: {scheme!r} is no URL scheme in lower case")


def _faults(item: Setting | Parameter) -> list[str]:
    if item.type not in (bool, int, float, str):
        return [f"its type is {item.type!r}; wanted is bool, int, float or str"]
    faults = []
    if not isinstance(item.name, str) or not _NAME.fullmatch(item.name):
        faults.append("a name is a letter and then letters, digits, `.`, `_` or `-`")
    if not isinstance(item.help, str) or not item.help.strip() or "\n" in item.help:
        faults.append("its help must be one line that says what it does")
    if getattr(item, "blank", False) and (item.type is not str or item.choices):
        faults.append("only a text without choices can be blank")
    limits = [*_choice_faults(item), *_bound_faults(item)]
    # a default is compared only with limits that make sense
    return faults + (limits or _default_faults(item))


def _choice_faults(item: Setting | Parameter) -> list[str]:
    if not item.choices:
        return []
    if item.type is not str:
        return ["only a text can have choices"]
    if not isinstance(item.choices, tuple) or not all(isinstance(each, str) and each.strip() for each in item.choices):
        return ["its choices must be a tuple of texts that are not blank"]
    if len({each.lower() for each in item.choices}) < len(item.choices):
        return ["two of its choices are the same but for upper and lower case"]
    return []


def _bound_faults(item: Setting | Parameter) -> list[str]:
    bounds = {name: bound for name in ("minimum", "maximum") if (bound := getattr(item, name)) is not None}
    if not bounds:
        return []
    if item.type not in (int, float):
        return ["only a number can have a minimum or a maximum"]
    faults = []
    for name, bound in bounds.items():
        if not is_json_type(bound, item.type):
            faults.append(f"its {name} is {bound!r}; wanted is {'a whole number' if item.type is int else 'a finite number'}")
        elif item.type is int and not INTEGER_MINIMUM <= bound <= INTEGER_MAXIMUM:
            faults.append(f"its {name} is {bound}, and FHIR's integers are 32 bits long")
    if not faults and len(bounds) == 2 and bounds["minimum"] > bounds["maximum"]:
        faults.append(f"its minimum, {bounds['minimum']}, is above its maximum, {bounds['maximum']}")
    return faults


def _default_faults(item: Setting | Parameter) -> list[str]:
    # an empty text stands for an unset one, though nobody may set it
    if item.default is None or (item.default == "" and item.type is str and not item.choices):
        return []
    # `is_json_type` knows that True is no integer, and that NaN is no number
    if not is_json_type(item.default, item.type) or not in_bounds(item.default, item):
        return [f"its default is {item.default!r}; wanted is {item.allowed}, or None"]
    return []
