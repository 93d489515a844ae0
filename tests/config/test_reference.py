"""docs/settings.md tells of every declared setting and parameter. `--update` rewrites its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.config.reference import parameters_table, settings_table, with_tables
from medagent.config.settings import Parameter, Registry, Setting
from medagent.plugins import build_registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_is_up_to_date(medagent_update: bool) -> None:
    text = PAGE.read_text(encoding="utf-8")
    registry, _ = build_registry()
    expected = with_tables(text, registry)
    if medagent_update:
        PAGE.write_text(expected, encoding="utf-8")
        text = expected
    assert text == expected


def test_tables_hold_default_bounds_and_effect() -> None:
    registry = Registry()
    registry.add_setting(Setting("late", int, None, "comes last", effective=False))
    registry.add_setting(Setting("size", int, 5, "Messages | a commit.", minimum=1, maximum=9))
    registry.add_parameter(Parameter("mode", ("mllp", "tcp"), str, "a", "how", choices=("a", "b")))
    registry.add_parameter(Parameter("size", ("tcp",), int, None, "how much", live=False))

    assert settings_table(registry).splitlines()[2:] == [
        "| `size` | `valueInteger` | `5` | a whole number from 1 to 9 | Messages \\| a commit. | yes |",
        "| `late` | `valueInteger` | unset | a whole number | Comes last. | not yet |",
    ]
    assert parameters_table(registry).splitlines()[2:] == [
        "| `mode` | mllp, tcp | `a` | `a`, `b` | How. | live | yes |",
        "| `size` | tcp | unset | a whole number | How much. | restart | yes |",
    ]


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="substring"):
        with_tables("no markers", Registry())
