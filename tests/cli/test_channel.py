"""`medagent channel`."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.command_line import run_main


@pytest.mark.parametrize("number", ["0", "-1", "1000000000000000000", "99999999999999999999"])
def test_a_sequence_number_has_at_most_18_digits(tmp_path: Path, number: str) -> None:
    finished = run_main("channel", "resync", "lab", "--seq", number, "--state-dir", str(tmp_path))
    assert finished.exit_code == 2
    assert "--seq" in finished.stderr


def test_the_longest_sequence_number_is_taken(tmp_path: Path) -> None:
    finished = run_main("channel", "resync", "lab", "--seq", "9" * 18, "--state-dir", str(tmp_path))
    assert finished.exit_code == 69, "no agent runs here"
