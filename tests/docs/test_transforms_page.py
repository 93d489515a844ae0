"""docs/plugins/transforms.md: the examples as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "plugins" / "transforms.md"
INCLUDED = re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "text"), INCLUDED, ids=[name for name, _ in INCLUDED])
def test_what_is_printed_is_what_is_tested(name: str, text: str) -> None:
    assert text == (PAGE.parent / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["medagent-no-test-patients", "medagent-audit"])
def test_both_examples_are_printed_whole(name: str) -> None:
    files = {path for path in (DOCS / "examples" / name).rglob("*.py") if not {"__pycache__", "build"} & set(path.parts)}
    assert files <= {(PAGE.parent / included).resolve() for included, _ in INCLUDED}
