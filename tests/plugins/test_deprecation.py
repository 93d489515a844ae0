"""What a plugin uses that will go is told."""

from __future__ import annotations

import logging
import warnings

import pluggy
import pytest

from medagent import hookimpl
from medagent.config.settings import Registry
from medagent.plugins import Plugins
from medagent.plugins.deprecation import deprecations_logged


def told(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]


def test_a_warning_at_registration_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    class Old:
        @hookimpl
        def medagent_register_settings(self, registry: Registry) -> None:
            warnings.warn("Registry.old() goes in 0.4: use add_setting", DeprecationWarning, stacklevel=1)

    with pytest.warns(DeprecationWarning, match="old"):
        Plugins(entry_points=False).register(Old(), "old")
    assert told(caplog) == ["plugin old uses what will go: Registry.old() goes in 0.4: use add_setting"]


def test_a_deprecated_hook_and_a_deprecated_argument_are_told(caplog: pytest.LogCaptureFixture) -> None:
    hookspec = pluggy.HookspecMarker("medagent")

    class Specs:
        @hookspec(warn_on_impl=DeprecationWarning("medagent_old goes in 0.4: use medagent_new"))
        def medagent_old(self, agent: object) -> None: ...

        @hookspec(warn_on_impl_args={"colour": DeprecationWarning("colour is always blue")})
        def medagent_new(self, agent: object, colour: str) -> None: ...

    class Plugin:
        @hookimpl
        def medagent_old(self) -> None: ...

        @hookimpl
        def medagent_new(self, colour: str) -> None: ...

    manager = pluggy.PluginManager("medagent")
    manager.add_hookspecs(Specs)
    with pytest.warns(DeprecationWarning, match="blue|medagent_new"), deprecations_logged("lab"):
        manager.register(Plugin())
    assert sorted(told(caplog)) == [
        "plugin lab uses what will go: colour is always blue",
        "plugin lab uses what will go: medagent_old goes in 0.4: use medagent_new",
    ]


def test_other_warnings_are_as_ever(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(ResourceWarning, match="open"), deprecations_logged("lab"):
        warnings.warn("open", ResourceWarning, stacklevel=1)
    assert told(caplog) == []


def test_an_optional_hook_of_another_version_is_passed_over() -> None:
    class Newer:
        @hookimpl(optionalhook=True)
        def medagent_of_a_later_version(self, agent: object) -> None: ...

        @hookimpl
        def medagent_metrics(self, registry: dict[str, float]) -> None:
            registry["beds"] = 12

    plugins = Plugins(entry_points=False)
    plugins.register(Newer(), "newer")
    figures: dict[str, float] = {}
    plugins.call_each("medagent_metrics", registry=figures)
    assert figures == {"beds": 12}
