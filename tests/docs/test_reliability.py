"""docs/reliability.md names tests that exist, and shows the programs' own results. `--update` rewrites its table."""

from __future__ import annotations

import json
import re
from pathlib import Path

from medagent.testing.markdown import Page, with_generated

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
PROGRAMS = {
    "kills": "crash-test",
    "power_cuts": "power-cut-test",
    "takeovers": "takeover-test",
    "tokens": "token-test",
    "link_cuts": "link-cuts",
    "reloads": "reload-test",
    "plugin_faults": "plugin-faults",
}
"""The target of `make` by the name of its result."""
ABOUT = ("date", "cpus", "python", "sqlite", "commit", "seed")


def figures_table() -> str:
    """A row for each program: what it found, when and where."""
    rows = ["| Program | Result | Run |", "|---|---|---|"]
    for name, target in PROGRAMS.items():
        path = ROOT / "docs" / "reliability" / f"{name}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        result = ", ".join(f"{key.replace('_', ' ')} {_text(value)}" for key, value in found.items() if key not in ABOUT)
        where = f"{found['cpus']} CPUs, Python {found['python']}, SQLite {found['sqlite']}, commit {found['commit']}"
        rows.append(f"| `make {target}` | {result} | {found['date']}; {where} |")
    return "\n".join(rows) + "\n"


def _text(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def test_the_figures_are_those_recorded(medagent_update: bool) -> None:
    text = PAGE.read_text(encoding="utf-8")
    expected = with_generated(text, "figures", figures_table())
    if medagent_update:
        PAGE.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, "run: pytest tests/docs/test_reliability.py --update"


def test_every_invariant_and_every_target_is_on_the_page() -> None:
    page, makefile = Page(PAGE), (ROOT / "Makefile").read_text(encoding="utf-8")
    guarantees = page.section("The guarantees")
    assert all(f"| I{number} |" in guarantees for number in range(1, 11))
    for target in PROGRAMS.values():
        assert f"make {target}" in page.text
        assert re.search(rf"^{target}: install ##", makefile, re.MULTILINE)
