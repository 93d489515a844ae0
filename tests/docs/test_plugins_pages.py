"""docs/plugins: every hook with its exact arguments, and the examples as they are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from medagent import hookspecs
from medagent.testing.markdown import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [Page(path) for path in sorted((DOCS / "plugins").glob("*.md"))]
HOOKS_PAGE = Page(DOCS / "plugins" / "hooks.md")
HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("medagent_")}
_FILE = re.compile(r"<!-- file: (\S+) -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INCLUDED = [((page.path.parent / name).resolve(), text) for page in PAGES for name, text in _FILE.findall(page.text)]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_an_entry_with_its_arguments(name: str) -> None:
    heading = f"{name}({', '.join(inspect.signature(HOOKS[name]).parameters)})"
    entry = HOOKS_PAGE.section(heading)
    assert entry.strip()
    options = HOOKS[name].medagent_spec
    assert ("First" in entry.split(".")[0]) == bool(options["firstresult"])
    assert ("*async*" in entry) == ("*async*" in (HOOKS[name].__doc__ or ""))


def test_no_entry_is_about_a_hook_that_does_not_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"medagent_[a-z]+(?:_[a-z]+)+", page.prose)} - {
        "medagent_commit_delay"
    }
    assert named <= HOOKS.keys()


def test_the_examples_are_included_whole() -> None:
    files = {path for path in (DOCS / "examples").rglob("*.py") if not {"__pycache__", "build"} & set(path.parts)}
    assert files <= {path for path, _ in INCLUDED}


@pytest.mark.parametrize(("path", "text"), INCLUDED, ids=[str(path.relative_to(DOCS)) for path, _ in INCLUDED])
def test_what_is_printed_is_what_is_tested(path: Path, text: str) -> None:
    assert text == path.read_text(encoding="utf-8")
