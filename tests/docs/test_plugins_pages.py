"""docs/plugins prints the examples as they are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from medagent.testing.markdown import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [Page(path) for path in sorted((DOCS / "plugins").glob("*.md"))]
_PRINTED = re.compile(r"<!-- (?:file: (\S+)|part: (\S+) (?:class )?(\w+)) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = [
    ((page.path.parent / (file or part)).resolve(), name, text)
    for page in PAGES
    for file, part, name, text in _PRINTED.findall(page.text)
]
"""File, name of a class in it, `docstring`, or "" for all of it, and what the page has."""


def test_every_example_is_printed() -> None:
    files = {path for path in (DOCS / "examples").rglob("*.py") if not {"__pycache__", "build"} & set(path.parts)}
    assert {path for path in files if path.name != "__init__.py"} <= {path for path, _, _ in PRINTED}


@pytest.mark.parametrize(
    ("path", "name", "text"), PRINTED, ids=[f"{path.relative_to(DOCS)} {name}".rstrip() for path, name, _ in PRINTED]
)
def test_what_is_printed_is_what_is_tested(path: Path, name: str, text: str) -> None:
    assert text.rstrip("\n") == _part(path.read_text(encoding="utf-8"), name).rstrip("\n")


def _part(source: str, name: str) -> str:
    if not name:
        return source
    body = ast.parse(source).body
    if name == "docstring":
        return ast.get_source_segment(source, body[0]) or ""
    (node,) = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    return ast.get_source_segment(source, node) or ""
