"""`medagent plugins new`."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.command_line import run_main


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    done = run_main("plugins", "new", "ward", "--kind", "strategy", "--directory", str(tmp_path))
    assert done.exit_code == 0
    folder = tmp_path / "medagent-ward"
    assert f'pip install -e "{folder}[test]"' in done.stdout
    assert f"pytest {folder}" in done.stdout
    assert (folder / "medagent_ward" / "plugin.py").is_file()


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("Ward", "channel", "cannot be the name of a plugin"),
        ("hl7", "channel", "a plugin hl7 is installed already"),
        ("mllp", "channel", "the URL scheme mllp is taken"),
        ("batched", "strategy", "a name of medagent's own"),
        ("ward", "sender", "channel"),
    ],
)
def test_faults_of_usage(name: str, kind: str, reason: str, tmp_path: Path) -> None:
    done = run_main("plugins", "new", name, "--kind", kind, "--directory", str(tmp_path))
    assert done.exit_code == 2
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_nothing() -> None:
    done = run_main("plugins", "new", "ward", "--kind", "store", "--directory", "/proc")
    assert done.exit_code == 2
    assert "nothing can be written to /proc" in " ".join(done.stderr.split())
