"""A test that the documentation names exists, and the pages that are to name all of something do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medagent.testing.markdown import Page, rows

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_NAMED = re.compile(r"`((?:tests|plugins)/[^`\s]+\.py)::(\w+)`")
_TEST = re.compile(r"^(?:async )?def (test_\w+)\(", re.MULTILINE)
_FRAME_TYPE = re.compile(r'"(agent:[a-z]+(?::[a-z]+)?|push)"')

NAMED = sorted(
    {(path, test) for page in DOCS.glob("**/*.md") for path, test in _NAMED.findall(page.read_text(encoding="utf-8"))}
)


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_a_test_that_is_named_exists(path: str) -> None:
    there = set(_TEST.findall((ROOT / path).read_text(encoding="utf-8")))
    assert {test for named, test in NAMED if named == path} <= there


def test_every_trap_is_in_the_table() -> None:
    page = Page(DOCS / "medplum.md").section("Traps")
    traps = {
        (f"tests/traps/{path.name}", test)
        for path in (ROOT / "tests" / "traps").glob("test_*.py")
        for test in _TEST.findall(path.read_text(encoding="utf-8"))
    }
    assert traps - set(_NAMED.findall(page)) == {("tests/traps/test_statuses.py", "test_the_page_tells_of_each")}


def test_every_trap_has_a_test() -> None:
    for cells in rows(Page(DOCS / "medplum.md").section("Traps")):
        assert len(cells) == 3
        assert cells[2] in ("Test", "---") or _NAMED.search(cells[2]), cells[0]


def test_every_frame_type_is_in_the_table() -> None:
    uplink = ROOT / "medagent" / "uplink"
    known = {
        kind for name in ("frames.py", "base.py") for kind in _FRAME_TYPE.findall((uplink / name).read_text(encoding="utf-8"))
    }
    table = list(rows(Page(DOCS / "protocol.md").section("Every frame type")))
    told = {kind for cells in table for kind in re.findall(r"`([^`]+)`", cells[0])}
    assert known <= told
    for kind, sent, understood, test in table[2:]:
        assert _NAMED.search(test) or not (sent or understood), kind
