"""`medagent plugins`."""

from __future__ import annotations

from medagent import __version__
from medagent.testing.command_line import run_main


def test_the_built_in_ones_are_listed_with_their_hooks() -> None:
    done = run_main("plugins", "--format", "json")
    assert done.exit_code == 0
    built_in = {info["name"]: info for info in done.json if info["origin"] == "built in"}
    assert set(built_in) >= {"config", "queue", "uplink"}
    assert built_in["queue"]["hooks"] == ["medagent_make_queue_store", "medagent_make_queue_strategy"]
    assert {info["version"] for info in built_in.values()} == {__version__}
    assert {info["error"] for info in built_in.values()} == {""}


def test_as_a_table_for_people() -> None:
    done = run_main("plugins")
    assert done.exit_code == 0
    assert "built in" in done.stdout
    assert "make_uplink" in done.stdout


def test_another_format_is_a_fault_of_usage() -> None:
    assert run_main("plugins", "--format", "xml").exit_code == 2
