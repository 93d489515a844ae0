"""The command `medagent` itself."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from medagent import __version__
from medagent.cli import main as main_module
from medagent.cli.main import COMMANDS, make_app
from medagent.errors import AuthenticationFailed, ConfigError, MedagentError, QueueHeld
from medagent.testing.command import run_command
from medagent.testing.command_line import run_main


def test_the_version() -> None:
    done = run_main("--version")
    assert (done.exit_code, done.stdout) == (0, f"medagent {__version__}\n")


async def test_it_is_a_module_too() -> None:
    done = await run_command("--version")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"medagent {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [("explode",), ("queue", "explode"), ("status", "--explode"), ("queue", "stats", "surplus")]
)
def test_what_it_does_not_know_is_a_fault_of_usage(arguments: tuple[str, ...]) -> None:
    done = run_main(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert arguments[-1] in done.stderr


def test_without_a_command_it_shows_its_commands() -> None:
    done = run_main()
    for command in ("run", "check", "status", "queue", "plugins"):
        assert f"  {command} " in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("-h",), ("run", "--help"), ("queue", "stats", "-h")])
def test_help(arguments: tuple[str, ...]) -> None:
    done = run_main(*arguments)
    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_shells_can_complete_it() -> None:
    assert "--install-completion" in run_main("--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_there_when_it_is_named_as_it_is_among_all(name: str) -> None:
    alone = CliRunner().invoke(make_app([name]), [name, "--help"])
    assert alone.exit_code == 0
    assert alone.output == CliRunner().invoke(make_app(), [name, "--help"]).output


def test_commands_of_installed_plugins_are_there() -> None:
    pytest.importorskip("medagent_hl7")
    assert "send" in CliRunner().invoke(make_app(), ["--help"]).output


@pytest.mark.parametrize(
    ("error", "exit_code"), [(MedagentError, 1), (ConfigError, 78), (AuthenticationFailed, 77), (QueueHeld, 75)]
)
def test_an_error_is_one_line_and_an_exit_code(
    error: type[MedagentError], exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error("what to do")

    monkeypatch.setattr(main_module, "make_app", lambda _arguments: fail)
    done = run_main()
    assert (done.exit_code, done.stdout, done.stderr) == (exit_code, "", "medagent: what to do\n")
