"""A new distribution is written as a whole or not at all, and nothing is overwritten."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from medagent.errors import ConfigError
from medagent.scaffold import Kind, Names, write

WARD = Names.of("ward")


@pytest.mark.parametrize("kind", Kind)
def test_every_file_is_there_and_filled_in(kind: Kind, tmp_path: Path) -> None:
    folder = write(kind, WARD, tmp_path)
    assert folder == tmp_path / "medagent-ward"
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(files) == {
        "pyproject.toml",
        "README.md",
        "medagent_ward/__init__.py",
        "medagent_ward/plugin.py",
        "medagent_ward/py.typed",
        "tests/test_plugin.py",
    }
    for path in files.values():
        assert "{{" not in path.read_text()
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "medagent-ward").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        write(Kind.CHANNEL, WARD, tmp_path)
    assert list((tmp_path / "medagent-ward").iterdir()) == []


def test_there_must_be_a_folder_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere is no folder.*--directory"):
        write(Kind.CHANNEL, WARD, tmp_path / "nowhere")


def test_nothing_is_left_of_one_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text = Path.write_text

    def full_disk(self: Path, *arguments: str, **options: str) -> int:
        if self.name == "test_plugin.py":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(Kind.CHANNEL, WARD, tmp_path)
    assert list(tmp_path.iterdir()) == []
