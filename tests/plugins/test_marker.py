"""The marker of an import: private, gone when all went well, one process's at a time."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medagent.plugins.marker import MARKER_NAME, ImportMarker


def test_it_names_the_plugin_until_it_is_released(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    marker = ImportMarker(folder)
    assert marker.read() == ""
    marker.take()
    marker.write("first")
    marker.write("lab")
    path = folder / MARKER_NAME
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (0o600, 0o700)
    assert ImportMarker(folder).read() == "lab"
    marker.release([])
    assert not path.exists()


def test_it_stays_while_plugins_are_left_out_because_of_it(tmp_path: Path) -> None:
    marker = ImportMarker(tmp_path)
    marker.take()
    marker.release(["one", "two"])
    assert ImportMarker(tmp_path).read() == "one, two"


def test_a_second_process_leaves_that_of_the_first_alone(tmp_path: Path) -> None:
    first, second = ImportMarker(tmp_path), ImportMarker(tmp_path)
    first.take()
    first.write("lab")
    second.take()
    second.write("other")
    second.release([])
    assert second.read() == "lab"
    first.release([])
    assert not (tmp_path / MARKER_NAME).exists()
    second.take()
    second.write("other")
    assert first.read() == "other"


def test_without_a_folder_that_can_be_written_to_nothing_is_marked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for marker in (ImportMarker(None), ImportMarker(tmp_path / "file")):
        marker.take()
        marker.write("lab")
        assert marker.read() == ""
        marker.release([])


@pytest.mark.parametrize("content", [b"\xff\x00\x1b[2J", b"x" * 100_000])
def test_what_stands_there_is_shown_printable_and_short(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARKER_NAME).write_bytes(content)
    shown = ImportMarker(tmp_path).read()
    assert shown.isprintable()
    assert 0 < len(shown) <= 1000
