from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.queue.sqlite.high_water import MARK_NAME, HighWater


def reopened(folder: Path) -> int:
    mark = HighWater(folder)
    try:
        return mark.open()
    finally:
        mark.close()


def test_it_only_rises_and_stays(tmp_path: Path) -> None:
    mark = HighWater(tmp_path)
    assert mark.open() == 0
    for seq in (5, 3, 17, 17):
        mark.raise_to(seq)
    assert mark.seq == 17
    mark.close()
    mark.raise_to(99)
    assert reopened(tmp_path) == 17
    assert stat.S_IMODE((tmp_path / MARK_NAME).stat().st_mode) == 0o600


def test_after_a_restart_the_higher_place_is_not_written_over(tmp_path: Path) -> None:
    for seq in range(1, 8):
        mark = HighWater(tmp_path)
        mark.open()
        mark.raise_to(seq)
        mark.close()
        assert reopened(tmp_path) == seq


@given(place=st.integers(0, 127), bit=st.integers(0, 7))
def test_a_flipped_bit_costs_one_step_at_most(tmp_path_factory: pytest.TempPathFactory, place: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("mark")
    mark = HighWater(folder)
    mark.open()
    mark.raise_to(41)
    mark.raise_to(42)
    mark.close()
    data = bytearray((folder / MARK_NAME).read_bytes())
    data[place] ^= 1 << bit
    (folder / MARK_NAME).write_bytes(data)
    assert reopened(folder) in (41, 42)


@pytest.mark.parametrize("content", [b"", b"x", b"garbage" * 50])
def test_what_is_no_mark_counts_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MARK_NAME).write_bytes(content)
    assert reopened(tmp_path) == 0
