"""The reference made from source."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medagent.testing.reference import Module, text, undocumented

SOURCE = '''"""A made-up module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LIMIT = 5
"""Most of them."""
_hidden = 1


@dataclass
class Context:
    """What is given."""

    size: int
    name: str = ""
    """Its name."""


class Maker(Protocol):
    """Makes things."""

    async def make(self, what: str, /, count: int = 1) -> list[str]:
        """Make `count` things."""

    @property
    def ready(self) -> bool:
        """Whether it is."""

    def _inner(self) -> None: ...


class Counter:
    """Counts."""

    def __init__(self, start: int) -> None:
        """From `start`."""
        self.now = start
        """Where it is."""


class Broken(ValueError):
    """It is."""


def helper(text: str) -> None: ...
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    (tmp_path / "made_up_module.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_up_module", raising=False)
    return Module("made_up_module")


def test_what_is_public_is_found_with_its_kind(module: Module) -> None:
    assert module.doc == "A made-up module."
    assert [(entry.name, entry.kind) for entry in module.entries] == [
        ("LIMIT", "value"),
        ("Context", "dataclass"),
        ("Maker", "protocol"),
        ("Counter", "class"),
        ("Broken", "exception, a kind of `ValueError`"),
        ("helper", "function"),
    ]


def test_signatures_are_as_written(module: Module) -> None:
    made = text(module.entries)
    assert "`LIMIT = 5`" in made
    assert "- `size: int`\n- `name: str = ''`: Its name.\n" in made
    assert (
        "- `async make(what: str, /, count: int=1) -> list[str]`: Make `count` things.\n- `ready: bool`: Whether it is." in made
    )
    assert "`Counter(start: int)`\n\nCounts.\n\nFrom `start`.\n\n- `now`: Where it is." in made
    assert "_inner" not in made


def test_what_is_not_explained_is_named(module: Module) -> None:
    assert list(undocumented(module.entries)) == [
        "Context.size: no docstring",
        "Maker.make: what is not explained",
        "helper: no docstring",
    ]


def test_all_says_what_is_public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "another_made_up_module.py").write_text(SOURCE + '\n__all__ = ["helper"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert [entry.name for entry in Module("another_made_up_module").entries] == ["helper"]


def test_a_module_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ImportError, match="No module named 'medagent_is_not_this'"):
        Module("medagent_is_not_this")
