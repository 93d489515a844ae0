"""Which plugins are imported: blocked, allowed and named ones."""

from __future__ import annotations

from medagent.config.plugin_options import PluginOptions
from medagent.plugins.choice import choose
from medagent.plugins.discovery import Candidate
from medagent.plugins.info import State

HL7 = Candidate("hl7", "medagent_hl7.plugin", "medagent-hl7", "1.0")
LAB = Candidate("lab", "hospital.lab:plugin", "Hospital.Plugins", "2.0")
XRAY = Candidate("xray", "hospital.xray", "Hospital.Plugins", "2.0")
INSTALLED = (HL7, LAB, XRAY)


def choice(
    blocked: tuple[str, ...] = (), allowed: tuple[str, ...] | None = None, modules: tuple[str, ...] = ()
) -> tuple[list[str], dict[str, State], list[str]]:
    """Names of those to import, what becomes of the others, and warnings."""
    made = choose(INSTALLED, PluginOptions(blocked, allowed, modules), ["queue"])
    return [each.name for each in made.chosen], {each.name: state for each, state in made.passed_over}, list(made.warnings)


def test_without_options_all_are_imported() -> None:
    assert choice() == (["hl7", "lab", "xray"], {}, [])


def test_a_block_is_by_name_or_distribution() -> None:
    assert choice(blocked=("lab",)) == (["hl7", "xray"], {"lab": State.BLOCKED}, [])
    assert choice(blocked=("hospital_plugins",))[1] == {"lab": State.BLOCKED, "xray": State.BLOCKED}


def test_what_is_not_allowed_is_not_imported() -> None:
    assert choice(allowed=("lab",)) == (["lab"], {"hl7": State.NOT_ALLOWED, "xray": State.NOT_ALLOWED}, [])
    assert choice(allowed=()) == ([], dict.fromkeys(("hl7", "lab", "xray"), State.NOT_ALLOWED), [])
    assert choice(allowed=("lab",), blocked=("lab",))[1]["lab"] is State.BLOCKED


def test_a_module_that_is_named_is_allowed_by_that() -> None:
    assert choice(allowed=("hl7",), modules=("one_file", "one_file"))[0] == ["hl7", "one_file"]
    assert choice(modules=("one_file",), blocked=("one_file",))[1] == {"one_file": State.BLOCKED}


def test_a_module_that_an_entry_point_names_too_is_loaded_once() -> None:
    assert choice(modules=("hospital.xray",))[0] == ["hl7", "lab", "xray"]
    assert choice(allowed=(), modules=("hospital.xray",))[0] == ["hospital.xray"]


def test_names_that_nobody_has_are_warned_of() -> None:
    assert choice(blocked=("labb", "queue"), allowed=("lab", "hl8", "queue", "zzzzz"))[2] == [
        "block_plugins: no plugin labb is installed; did you mean lab?",
        "block_plugins: queue is built in and cannot be blocked",
        "allow_plugins: no plugin hl8 is installed; did you mean hl7?",
        "allow_plugins: no plugin zzzzz is installed",
    ]
