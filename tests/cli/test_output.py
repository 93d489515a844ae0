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


ROWS = [["adt", 123456, 1.25, "one two three four five six seven"], ["laboratory-of-the-north-wing", 1, None, "eight"]]


@pytest.mark.parametrize("columns", [100, 60, 40, 10])
def test_nothing_is_cut_however_narrow_the_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table("Messages of all channels together", ["channel", "all of them", "p99", "what they are"], ROWS)
    printed = capsys.readouterr().out
    assert {"123456", "1.25", "-"} <= set(printed.split()), "numbers stay whole"
    found = sorted(printed.replace("─", "").replace(" ", "").replace("\n", ""))
    texts = [
        "Messages of all channels together",
        "channel",
        "all of them",
        "p99",
        "what they are",
        *ROWS[0],
        ROWS[1][0],
        1,
        "-",
        "eight",
    ]
    assert found == sorted("".join(map(str, texts)).replace(" ", ""))


def test_a_pipe_has_no_width(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table("", ["channel", "what"], [["a" * 200, "b" * 200]])
    assert capsys.readouterr().out.splitlines()[2].split() == ["a" * 200, "b" * 200]
