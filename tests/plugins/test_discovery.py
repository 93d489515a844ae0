"""What installed distributions offer; nothing of it is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.plugins.discovery import find_candidates, normalized
from medagent.testing.distribution import install


def test_the_first_on_the_path_hides_others_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, module in (("old", "lab_old"), ("new", "lab_new")):
        (tmp_path / folder).mkdir()
        install(tmp_path / folder, "lab", "raise AssertionError('imported')", module=module)
        monkeypatch.syspath_prepend(tmp_path / folder)
    [found] = [each for each in find_candidates() if each.name == "lab"]
    assert (found.value, found.origin, found.fault) == ("lab_new", "medagent-lab 1.5", "")


def test_of_one_name_the_distribution_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution in ("a-lab", "medagent-lab", "z-lab"):
        install(tmp_path, "lab", "", module=distribution.replace("-", "_"), distribution=distribution)
    monkeypatch.syspath_prepend(tmp_path)
    found = [each.distribution for each in find_candidates() if each.name == "lab"]
    assert found == ["medagent-lab", "a-lab", "z-lab"]


def test_a_distribution_has_one_name_in_all_spellings() -> None:
    assert {normalized(name) for name in ("Med_Agent.Lab", "med-agent--lab", "MED.AGENT_lab")} == {"med-agent-lab"}
