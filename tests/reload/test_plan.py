"""What differs between two configurations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medagent.config.model import AgentConfig, BatchConfig, ChannelConfig
from medagent.reload.plan import make_plan

ADT = ChannelConfig("adt", "mllp", "127.0.0.1", 2575, "mllp://127.0.0.1:2575")
LAB = replace(ADT, name="lab", port=2576, address="mllp://127.0.0.1:2576")
AGENT = AgentConfig("a-1", "North Wing", channels=(ADT, LAB))


def test_nothing_has_changed() -> None:
    plan = make_plan(AGENT, replace(AGENT, channels=(LAB, ADT)))
    assert not plan
    assert str(plan) == "nothing has changed"


def test_settings_are_named() -> None:
    plan = make_plan(AGENT, replace(AGENT, batch=BatchConfig(max_batch_size=5), max_in_flight=1))
    assert str(plan) == "settings"
    old, new = replace(AGENT, settings={"batchSize": 100}), replace(AGENT, settings={"batchSize": 5, "batchAdaptive": False})
    assert str(make_plan(old, new)) == "batchAdaptive unset → false, batchSize 100 → 5"


MOVED = replace(LAB, port=2580, address="mllp://127.0.0.1:2580")
OTHER_HOST = replace(LAB, host="10.0.0.7", address="mllp://10.0.0.7:2576")
ENHANCED = replace(LAB, parameters={"enhanced": "true"}, address="mllp://127.0.0.1:2576?enhanced=true")
OFF = replace(LAB, enabled=False)
BARRED = replace(LAB, barred="alow: unknown parameter")


@pytest.mark.parametrize(
    ("old", "new", "words", "in_place"),
    [
        ((), (LAB,), "added", False),
        ((LAB,), (), "removed", False),
        ((LAB,), (MOVED,), "moved to port 2580", False),
        ((LAB,), (OTHER_HOST,), "moved to mllp://10.0.0.7:2576", False),
        ((LAB,), (replace(LAB, scheme="mllps"),), "moved to mllps://127.0.0.1:2576", False),
        ((LAB,), (ENHANCED,), "enhanced unset → true", True),
        ((LAB,), (OFF,), "turned off", False),
        ((OFF,), (LAB,), "turned on", False),
        ((OFF,), (replace(ENHANCED, enabled=False),), "enhanced unset → true", False),
        ((LAB,), (replace(ENHANCED, port=2580),), "moved to port 2580, enhanced unset → true", False),
        ((LAB,), (BARRED,), "turned off", False),
        ((BARRED,), (LAB,), "turned on", False),
    ],
)
def test_channels(old: tuple[ChannelConfig, ...], new: tuple[ChannelConfig, ...], words: str, in_place: bool) -> None:
    plan = make_plan(replace(AGENT, channels=(ADT, *old)), replace(AGENT, channels=(ADT, *new)))
    assert str(plan) == f"lab: {words}"
    assert [change.in_place for change in plan.channels] == [in_place]


def test_control_characters_are_spelled_out() -> None:
    old, new = (replace(LAB, parameters={"endChar": char}) for char in "\x03\n")
    plan = make_plan(AgentConfig("a", "A", channels=(old,)), AgentConfig("a", "A", channels=(new,)))
    assert str(plan) == r"lab: endChar \x03 → \n"


def test_an_agent_that_is_turned_off_turns_off_its_channels() -> None:
    plan = make_plan(AGENT, replace(AGENT, status="off"))
    assert str(plan) == "adt: turned off; lab: turned off; status active → off"
    assert str(make_plan(replace(AGENT, status="off"), AGENT)) == "adt: turned on; lab: turned on; status off → active"
