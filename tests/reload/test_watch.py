"""Changed files are noticed once they are written."""

from __future__ import annotations

import os
from pathlib import Path

from medagent.reload.watch import FileWatch


def test_a_change_is_told_once_and_when_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    file.write_text("{}")
    watch = FileWatch([file])
    assert not watch.changed()
    file.write_text('{"a": 1}')
    assert not watch.changed(), "it may still be written"
    assert watch.changed()
    assert not watch.changed()


def test_a_file_put_in_its_place_is_a_change(tmp_path: Path) -> None:
    file, other = tmp_path / "agent.json", tmp_path / "new"
    file.write_text("{}")
    watch = FileWatch([file])
    other.write_text("[]")
    os.utime(other, ns=(0, file.stat().st_mtime_ns))
    other.replace(file)
    assert [watch.changed(), watch.changed()] == [False, True]


def test_a_file_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    file.write_text("{}")
    watch = FileWatch([file])
    file.unlink()
    assert not any(watch.changed() for _ in range(3))
    file.write_text('{"a": 2}')
    assert [watch.changed(), watch.changed()] == [False, True]
