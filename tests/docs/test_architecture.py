"""docs/architecture.md lists every module with the first line of its docstring. `--update` rewrites its tables."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from medagent.testing.markdown import with_generated

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGES = {"medagent": ROOT / "medagent"} | {path.name: path for path in sorted(ROOT.glob("plugins/*/medagent_*"))}


def module_table(package: Path) -> str:
    rows = ["| Module | One line |", "|---|---|"]
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).parts):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if docstring:
            rows.append(f"| `{path.relative_to(package)}` | {docstring.splitlines()[0].replace('|', chr(92) + '|')} |")
        else:
            assert path.name == "__init__.py", f"{path} has no docstring"
    return "\n".join(rows)


@pytest.mark.parametrize("name", PACKAGES)
def test_every_module_is_listed(name: str, medagent_update: bool) -> None:
    text = PAGE.read_text(encoding="utf-8")
    expected = with_generated(text, name, module_table(PACKAGES[name]))
    if medagent_update:
        PAGE.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, "run: pytest tests/docs/test_architecture.py --update"
