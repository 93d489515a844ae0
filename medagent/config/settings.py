"""The registry of Agent.setting names and Endpoint.address parameters, to which plugins add theirs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from medagent.config.declaration import check_declaration, check_schemes
from medagent.config.model import Value
from medagent.errors import PluginError

__all__ = ["Parameter", "Registry", "Setting"]

FIELD_OF_TYPE = {bool: "valueBoolean", int: "valueInteger", float: "valueDecimal", str: "valueString"}
"""The FHIR element that holds a setting of a Python type (Agent.setting.value[x])."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One name that Agent.setting may hold."""

    name: str
    """As the Agent spells it."""
    type: type[bool] | type[int] | type[float] | type[str]
    """Chooses the FHIR element: `bool` is valueBoolean, `int` valueInteger, `float` valueDecimal, `str` valueString."""
    default: Value | None
    """None: unset. An empty text: unset too, but the setting always has a value."""
    help: str
    """One line: what it does, with the unit."""
    minimum: int | float | None = None
    """For numbers: the least that is allowed."""
    maximum: int | float | None = None
    """For numbers: the most that is allowed."""
    choices: tuple[str, ...] = ()
    """For strings: the allowed values; empty for any."""
    effective: bool = True
    """False: known, so never a fault, but without effect yet."""
    declared_by: str = ""
    """The plugin's name; filled in by the registry."""

    @property
    def field(self) -> str:
        """The FHIR element that holds it, such as `valueInteger`."""
        return FIELD_OF_TYPE[self.type]

    @property
    def allowed(self) -> str:
        """What is allowed, in words: `a whole number from 1 to 10000`."""
        return describe_allowed(self)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter that the Endpoint.address of some schemes may hold."""

    name: str
    """As the address spells it."""
    schemes: tuple[str, ...]
    """URL schemes that have it."""
    type: type[bool] | type[int] | type[float] | type[str]
    """What its text is read as."""
    default: Value | None
    """None: unset."""
    help: str
    """One line: what it does, with the unit."""
    minimum: int | float | None = None
    """For numbers: the least that is allowed."""
    maximum: int | float | None = None
    """For numbers: the most that is allowed."""
    choices: tuple[str, ...] = ()
    """For strings: the allowed values, compared without regard to case; the value is used as spelled here."""
    effective: bool = True
    """False: known, so never a fault, but without effect yet."""
    declared_by: str = ""
    """The plugin's name; filled in by the registry."""
    guards: bool = False
    """It says who may connect or send: a mistake in it must not open the channel, so the channel does not listen."""
    live: bool = True
    """A `medagent.channel.Reconfigurable` channel takes another value while it listens; False: it must be started again."""
    blank: bool = False
    """For strings: nothing but white space is a value too, such as a tab or a carriage return."""

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        return describe_allowed(self)


def describe_allowed(item: Setting | Parameter) -> str:
    """Say in words what values `item` takes."""
    if item.choices:
        return "one of " + ", ".join(item.choices)
    if item.type is bool:
        return "true or false"
    if item.type is str:
        return "a text"
    noun = "a whole number" if item.type is int else "a number"
    if item.minimum is not None and item.maximum is not None:
        return f"{noun} from {item.minimum} to {item.maximum}"
    if item.minimum is not None:
        return f"{noun} of at least {item.minimum}"
    if item.maximum is not None:
        return f"{noun} of at most {item.maximum}"
    return noun


class Registry:
    """All settings and parameters that this agent knows. One per agent, filled once at set-up."""

    def __init__(self) -> None:
        self._settings: dict[str, Setting] = {}
        self._parameters: dict[tuple[str, str], Parameter] = {}
        self._declarer = ""

    def declaring_as(self, plugin: str) -> None:
        """Credit what is added from now on to `plugin`."""
        self._declarer = plugin

    def add_setting(self, setting: Setting) -> None:
        """Declare `setting` as one of Agent.setting. Raises `PluginError` if the name is taken, or it makes no sense."""
        check_declaration(setting)
        taken = self._settings.get(setting.name)
        if taken is not None:
            raise PluginError(f"setting {setting.name} is already declared by {taken.declared_by}; choose another name")
        self._settings[setting.name] = replace(setting, declared_by=self._declarer or setting.declared_by)

    def add_parameter(self, parameter: Parameter) -> None:
        """Declare `parameter` as one of addresses.

        Raises `PluginError` if one of its schemes has the name already, or the declaration makes no sense.
        """
        check_schemes(parameter)
        check_declaration(parameter)
        for scheme in parameter.schemes:
            taken = self._parameters.get((scheme, parameter.name))
            if taken is not None:
                raise PluginError(f"parameter {parameter.name} of {scheme} is already declared by {taken.declared_by}")
            declared = replace(parameter, declared_by=self._declarer or parameter.declared_by)
            self._parameters[scheme, parameter.name] = declared

    def forget(self, plugin: str) -> None:
        """Drop everything that `plugin` has declared."""
        self._settings = {name: item for name, item in self._settings.items() if item.declared_by != plugin}
        self._parameters = {key: item for key, item in self._parameters.items() if item.declared_by != plugin}

    def setting(self, name: str) -> Setting | None:
        """The setting `name`, if there is one."""
        return self._settings.get(name)

    def settings(self) -> list[Setting]:
        """All of them, by name."""
        return sorted(self._settings.values(), key=lambda setting: setting.name)

    def parameters(self, scheme: str) -> dict[str, Parameter]:
        """The parameters of `scheme`, by name."""
        return {name: parameter for (owner, name), parameter in self._parameters.items() if owner == scheme}

    def all_parameters(self) -> list[Parameter]:
        """Every declared parameter once, by name, then by schemes: several plugins may use a name."""
        return sorted(set(self._parameters.values()), key=lambda parameter: (parameter.name, parameter.schemes))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` most likely means, or None."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None
