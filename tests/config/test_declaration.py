"""What a plugin declares wrongly is refused when it is loaded, with the reason."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from medagent import hookimpl
from medagent.config.settings import Parameter, Registry, Setting
from medagent.errors import PluginError
from medagent.plugins import Plugins

INTEGER = Setting("acmeSize", int, 5, "How much.", minimum=1, maximum=9)
DECIMAL = Setting("acmeShare", float, 0.5, "How much of it.", minimum=0, maximum=1)
TEXT = Setting("acmeMode", str, "a", "How.", choices=("a", "b"))
SWITCH = Setting("acmeOn", bool, True, "Whether.")
PARAMETER = Parameter("mode", ("acme",), str, "a", "How.", choices=("a", "b"))


@pytest.mark.parametrize(
    "setting", [INTEGER, DECIMAL, TEXT, SWITCH, replace(DECIMAL, default=1), Setting("x", str, "", "An x.")]
)
def test_sound_ones_are_taken(setting: Setting) -> None:
    registry = Registry()
    registry.add_setting(setting)
    registry.add_setting(replace(setting, name=setting.name + ".other-1_b", default=None))
    registry.add_parameter(PARAMETER)


# a plugin is not bound by its type hints
FAULTY: list[tuple[Setting, dict[str, Any], str]] = [
    (INTEGER, {"default": 0}, "its default is 0; wanted is a whole number from 1 to 9, or None"),
    (INTEGER, {"default": "5"}, "its default is '5'"),
    (INTEGER, {"default": 5.0}, "its default is 5.0"),
    (INTEGER, {"default": True}, "its default is True"),
    (INTEGER, {"default": 2**31, "maximum": None}, "its default is 2147483648"),
    (INTEGER, {"minimum": 10}, "its minimum, 10, is above its maximum, 9"),
    (INTEGER, {"minimum": 0.5}, "its minimum is 0.5; wanted is a whole number"),
    (INTEGER, {"maximum": 2**31}, "FHIR's integers are 32 bits long"),
    (INTEGER, {"choices": ("1", "2")}, "only a text can have choices"),
    (INTEGER, {"help": ""}, "its help must be one line"),
    (INTEGER, {"help": " \t"}, "its help must be one line"),
    (INTEGER, {"help": "One.\nTwo."}, "its help must be one line"),
    (INTEGER, {"help": None}, "its help must be one line"),
    (INTEGER, {"name": ""}, "a name is a letter"),
    (INTEGER, {"name": "acme size"}, "a name is a letter"),
    (INTEGER, {"name": 7}, "a name is a letter"),
    (INTEGER, {"type": dict}, "its type is <class 'dict'>"),
    (DECIMAL, {"default": math.nan}, "its default is nan; wanted is a number from 0 to 1, or None"),
    (DECIMAL, {"default": math.inf, "maximum": None}, "its default is inf; wanted is a number of at least 0"),
    (DECIMAL, {"minimum": math.nan}, "its minimum is nan; wanted is a finite number"),
    (DECIMAL, {"maximum": math.inf}, "its maximum is inf; wanted is a finite number"),
    (DECIMAL, {"maximum": "1"}, "its maximum is '1'"),
    (SWITCH, {"default": 1}, "its default is 1; wanted is true or false, or None"),
    (SWITCH, {"minimum": 0}, "only a number can have a minimum"),
    (TEXT, {"default": "c"}, "its default is 'c'; wanted is one of a, b, or None"),
    (TEXT, {"default": ""}, "its default is ''"),
    (TEXT, {"default": "A"}, "its default is 'A'"),
    (TEXT, {"choices": (), "default": " "}, "its default is ' '; wanted is a text, or None"),
    (TEXT, {"choices": ["a", "b"]}, "its choices must be a tuple"),
    (TEXT, {"choices": ("a", " ")}, "its choices must be a tuple of texts that are not blank"),
    (TEXT, {"choices": ("a", "A")}, "the same but for upper and lower case"),
]


@pytest.mark.parametrize(("sound", "changes", "reason"), FAULTY, ids=[f"{s.name} {c}" for s, c, _ in FAULTY])
def test_a_faulty_setting_is_refused(sound: Setting, changes: dict[str, Any], reason: str) -> None:
    registry = Registry()
    with pytest.raises(PluginError) as raised:
        registry.add_setting(replace(sound, **changes))
    assert reason in str(raised.value)
    assert str(changes.get("name", sound.name)) in str(raised.value), "it names the setting"
    assert registry.settings() == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"default": "c"}, "parameter 'mode' is not declared as it should be: its default is 'c'"),
        ({"blank": True}, "only a text without choices can be blank"),
        ({"schemes": ()}, "needs its schemes"),
        ({"schemes": "acme"}, "needs its schemes"),
        ({"schemes": ("Acme",)}, "'Acme' is no URL scheme in lower case"),
        ({"schemes": ("acme://",)}, "'acme://' is no URL scheme"),
    ],
)
def test_a_faulty_parameter_is_refused(changes: dict[str, Any], reason: str) -> None:
    registry = Registry()
    with pytest.raises(PluginError) as raised:
        registry.add_parameter(replace(PARAMETER, **changes))
    assert reason in str(raised.value)
    assert registry.all_parameters() == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(PluginError, match=r"a name is a letter.*its help.*its default"):
        Registry().add_setting(Setting("", int, 0, "", minimum=1))


def test_its_plugin_is_left_out() -> None:
    class Careless:
        @hookimpl
        def medagent_register_settings(self, registry: Registry) -> None:
            registry.add_setting(replace(INTEGER, default=0))

    plugins = Plugins(entry_points=False)
    with pytest.raises(PluginError, match="plugin careless cannot be used: setting 'acmeSize' is not declared"):
        plugins.register(Careless(), "careless")
    assert plugins.registry.setting("acmeSize") is None
