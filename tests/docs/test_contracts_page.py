"""docs/plugins/contracts.md lists every test of the suites with its promise. `--update` rewrites its tables."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from medagent.testing.contracts.promise import Contract

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins" / "contracts.md"
SUITES = re.findall(r"<!-- promises: (\S+) -->", PAGE.read_text(encoding="utf-8"))


def table(suite: type[Contract]) -> str:
    """In the order of the source, part by part."""
    parts = [part for part in reversed(suite.__mro__) if issubclass(part, Contract)]
    tests = {name: test for part in parts for name, test in vars(part).items() if name.startswith("test_")}
    rows = [f"| `{name}` | {' '.join((inspect.getdoc(test) or '').split())} |\n" for name, test in tests.items()]
    return "| Test | Promise |\n|---|---|\n" + "".join(rows)


@pytest.mark.parametrize("name", SUITES)
def test_every_promise_is_listed(name: str, medagent_update: bool) -> None:
    module, _, suite = name.rpartition(".")
    text = PAGE.read_text(encoding="utf-8")
    start, end = f"<!-- promises: {name} -->\n", f"<!-- end: {name} -->"
    before, rest = text.split(start)
    after = rest.split(end)[1]
    expected = before + start + table(getattr(importlib.import_module(module), suite)) + end + after
    if medagent_update:
        PAGE.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, "run: pytest tests/docs/test_contracts_page.py --update"
