"""What a new plugin may be called."""

from __future__ import annotations

import pytest

from medagent.errors import ConfigError
from medagent.scaffold import Names

NOTHING: frozenset[str] = frozenset()


def test_all_names_follow_from_one() -> None:
    for given in ("ward-monitor-2", "medagent-ward-monitor-2"):
        names = Names.of(given)
        assert (names.name, names.distribution, names.module) == (
            "ward-monitor-2",
            "medagent-ward-monitor-2",
            "medagent_ward_monitor_2",
        )
        assert (names.title, names.camel, names.upper) == ("WardMonitor2", "wardMonitor2", "WARD_MONITOR_2")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "medagent-",
        "Ward",
        "ward_monitor",
        "2ward",
        "ward--monitor",
        "-ward",
        "ward-",
        "ward.x",
        "../ward",
        "wärd",
        "w" * 41,
    ],
)
def test_what_cannot_be_a_name(given: str) -> None:
    with pytest.raises(ConfigError, match="such as ward-monitor"):
        Names.of(given)


@pytest.mark.parametrize(
    ("given", "plugins", "schemes", "reason"),
    [
        ("ward", frozenset({"ward"}), NOTHING, "a plugin ward is installed already"),
        ("ward", NOTHING, frozenset({"ward"}), "the URL scheme ward is taken"),
        ("hl7", NOTHING, NOTHING, "a distribution medagent-hl7 is installed already"),
    ],
)
def test_names_that_are_taken(given: str, plugins: frozenset[str], schemes: frozenset[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Names.of(given).refuse_taken(plugins, schemes)


def test_a_module_that_is_no_distribution_s(tmp_path, monkeypatch) -> None:
    Names.of("ward").refuse_taken(NOTHING, NOTHING)
    (tmp_path / "medagent_ward.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="a Python module medagent_ward"):
        Names.of("ward").refuse_taken(NOTHING, NOTHING)
