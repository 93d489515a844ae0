"""How commands print."""

from __future__ import annotations

import json

import pytest

from medagent.cli.output import print_json, table


def test_json_is_one_value_with_its_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Zürich", "none": None})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": "Zürich", "none": None}
    assert "Zürich" in printed
    assert printed.endswith("}\n")


def test_a_table_lines_up_and_shows_text_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table("Messages", ["channel", "count", "oldest"], [["[red]adt[/red]", 7, None], ["oru", 1200, 1.5]])
    title, head, _, first, second = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert title == "Messages"
    assert head.split() == ["channel", "count", "oldest"]
    assert first.split() == ["[red]adt[/red]", "7", "-"]
    assert second.split() == ["oru", "1200", "1.5"]
    assert len(first.split("7")[0]) + 1 == len(second.split("1200")[0]) + 4, "numbers end in one column"


def test_a_table_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ["channel", "count"], [])
    assert capsys.readouterr().out.split()[:2] == ["channel", "count"]
