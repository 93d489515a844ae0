"""docs/performance.md shows the figures that are kept beside it. `--update` puts them in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from medagent.testing.markdown import with_generated

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
FIGURES = PAGE.with_suffix("") / "figures.json"
BENCH = ROOT / "tests" / "benchmarks" / "bench.py"
TABLES = ("figures", "ceilings", "costs")


def test_the_page_shows_what_was_measured(medagent_update: bool) -> None:
    command = (sys.executable, str(BENCH), "show", str(FIGURES), "--format", "markdown")
    tables = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split("\n\n")
    text = expected = PAGE.read_text(encoding="utf-8")
    for name, table in zip(TABLES, tables, strict=True):
        expected = with_generated(expected, name, table)
    if medagent_update:
        PAGE.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected, "run: pytest tests/docs/test_performance.py --update"


def test_every_plot_is_there() -> None:
    shown = re.findall(r"\]\(performance/(\S+\.svg)\)", PAGE.read_text(encoding="utf-8"))
    assert set(shown) == {path.name for path in FIGURES.parent.glob("*.svg")}


def test_what_is_kept_names_no_place_of_the_machine() -> None:
    assert "path" not in json.dumps(json.loads(FIGURES.read_text(encoding="utf-8")))
