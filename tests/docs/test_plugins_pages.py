"""docs/plugins prints the examples as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medagent.testing.markdown import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [Page(path) for path in sorted((DOCS / "plugins").glob("*.md"))]
_FILE = re.compile(r"<!-- file: (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDED = [((page.path.parent / name).resolve(), text) for page in PAGES for name, text in _FILE.findall(page.text)]


def test_the_examples_are_included_whole() -> None:
    files = {path for path in (DOCS / "examples").rglob("*.py") if not {"__pycache__", "build"} & set(path.parts)}
    assert files <= {path for path, _ in INCLUDED}


@pytest.mark.parametrize(("path", "text"), INCLUDED, ids=[str(path.relative_to(DOCS)) for path, _ in INCLUDED])
def test_what_is_printed_is_what_is_tested(path: Path, text: str) -> None:
    assert text == path.read_text(encoding="utf-8")
