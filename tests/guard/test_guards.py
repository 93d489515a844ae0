"""What the status is told of faults: by whom, where, and for how long."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from medagent.guard import Guard, Guards
from medagent.guard.guard import RECENT_SECONDS
from medagent.testing.doubles import Clock

PLUGIN = """
def fails():
    return inner()

def inner():
    return {}["MRN 4711"]
"""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guards(clock: Clock) -> Guards:
    return Guards(clock)


def test_a_fault_is_told_for_a_while_with_what_follows(guards: Guards, clock: Clock) -> None:
    guards.of("lab", "medagent_metrics").fault("", "KeyError")
    guards.of("lab", "channel adt").fault("key", "KeyError")
    assert guards.reasons() == [
        "plugin lab, medagent_metrics: KeyError; it was passed over",
        "plugin lab, channel adt: key: KeyError; its devices may lack an answer, or were cut off",
    ]
    assert len(guards.reasons({"channel adt"})) == 1
    clock.now += RECENT_SECONDS
    assert guards.reasons() == []
    assert len(guards.report()) == 2, "they are counted for ever"


def test_what_lasts_is_told_until_it_ends(guards: Guards, clock: Clock) -> None:
    made = guards.of("lab", "transform of channel adt")
    made.fault("", "KeyError")
    made.lasting = "the messages wait"
    clock.now += RECENT_SECONDS
    assert guards.reasons() == ["plugin lab, transform of channel adt: KeyError; the messages wait"]
    guards.settle("transform of ")
    assert guards.reasons() == []


def test_what_is_stopped_is_told_once(guards: Guards) -> None:
    health = guards.of("lab", "medagent_health")
    health.block("", "lab.py:3 in f")
    assert guards.reasons() == [
        "plugin lab, medagent_health: blocked the event loop at lab.py:3 in f; stopped for 60 s; it was passed over"
    ]


@pytest.mark.parametrize("name", ["lab_of_mine.plugin", "lab_of_mine"])
def test_a_fault_is_told_by_type_file_line_and_function(
    name: str, guards: Guards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "lab_of_mine"
    folder.mkdir()
    file = "plugin.py" if "." in name else "__init__.py"
    (folder / "__init__.py").write_text("")
    (folder / file).write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for loaded in ("lab_of_mine", name):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    plugin = importlib.import_module(name)
    guards.owners.add("lab", plugin)
    made: Guard = guards.of("lab", "channel adt")
    with pytest.raises(KeyError):
        made.attempt("key", plugin.fails)
    assert made.last_fault == f"key: KeyError at lab_of_mine/{file}:6 in inner"
    with pytest.raises(TypeError):
        made.attempt("key", lambda: 7, kinds=(str,))
    assert made.last_fault == "key: TypeError", "it was not raised in the plugin's code"
    assert "4711" not in caplog.text
