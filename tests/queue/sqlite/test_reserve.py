from __future__ import annotations

import stat
from pathlib import Path

from medagent.queue.sqlite.reserve import MOST_BYTES, RESERVE_NAME, Reserve


def test_the_space_is_really_taken(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path)
    assert reserve.make()
    found = (tmp_path / RESERVE_NAME).stat()
    assert 0 < found.st_size <= MOST_BYTES
    assert found.st_blocks * 512 >= found.st_size
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert reserve.make(), "it is there already"
    reserve.free()
    assert not (tmp_path / RESERVE_NAME).exists()
    reserve.free()


def test_a_folder_that_cannot_be_used_gives_none(tmp_path: Path) -> None:
    assert not Reserve(tmp_path / "missing").make()
