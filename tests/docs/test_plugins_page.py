"""docs/plugins.md: every hook with its exact arguments, and the examples as they are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from medagent import hookspecs
from medagent.testing.markdown import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = Page(DOCS / "plugins.md")
HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("medagent_")}
INCLUDED = re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?)^```$", PAGE.text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_an_entry_with_its_arguments(name: str) -> None:
    heading = f"{name}({', '.join(inspect.signature(HOOKS[name]).parameters)})"
    entry = PAGE.section(heading)
    assert entry.strip()
    options = HOOKS[name].medagent_spec
    assert ("First" in entry.split(".")[0]) == bool(options["firstresult"])
    assert ("*async*" in entry) == ("*async*" in (HOOKS[name].__doc__ or ""))


def test_no_entry_is_about_a_hook_that_does_not_exist() -> None:
    named = set(re.findall(r"medagent_[a-z]+(?:_[a-z]+)+", PAGE.prose)) - {"medagent_commit_delay"}
    assert named <= HOOKS.keys()


def test_the_examples_are_included_whole() -> None:
    files = {
        str(path.relative_to(DOCS))
        for path in (DOCS / "examples").rglob("*.py")
        if not {"__pycache__", "build"} & set(path.parts)
    }
    assert files <= {name for name, _ in INCLUDED}


@pytest.mark.parametrize(("name", "text"), INCLUDED, ids=[name for name, _ in INCLUDED])
def test_what_is_printed_is_what_is_tested(name: str, text: str) -> None:
    assert text == (DOCS / name).read_text(encoding="utf-8")
