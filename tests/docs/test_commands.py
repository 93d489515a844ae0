"""Commands, options and environment variables that the documentation names exist; every command is named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from medagent.cli.main import make_app
from medagent.config.options import OPTIONS
from medagent.testing.markdown import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = [Page(path) for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])]
SHELL = ("sh", "ini", "")
# typer's own command classes: which they are depends on its version
APP: Any = typer.main.get_command(make_app())


def command_lines(page: Page) -> Iterator[list[str]]:
    """What follows `medagent` in blocks and spans of code, word by word."""
    lines = [line for block in page.blocks if block.language in SHELL for line in block.text.splitlines()]
    for line in [*lines, *page.code_spans]:
        if match := re.search(r"(?:^|/bin/|ExecStart=\S*/)medagent ([a-z-].*)", line.strip()):
            yield shlex.split(match[1], comments=True)


def options_of(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def commands(command: Any = APP, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its path."""
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name), child
        yield from commands(child, (*path, name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
def test_command_lines_are_right(page: Page) -> None:
    for words in command_lines(page):
        command = APP
        for word in words:
            if word in getattr(command, "commands", {}):
                command = command.commands[word]
            elif word.startswith("--"):
                assert word.partition("=")[0] in options_of(command) | {"--help"}, f"medagent {' '.join(words)}: no {word}"
            else:
                assert command is not APP, f"medagent {' '.join(words)}: no such command"
                assert not hasattr(command, "commands"), f"medagent {' '.join(words)}: no such command"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.path.relative_to(ROOT)))
def test_options_named_alone_are_some_command_s(page: Page) -> None:
    known = {option for _, command in commands() for option in options_of(command)} | options_of(APP)
    named = {span.split()[0] for span in page.code_spans if span.startswith("--")}
    assert named <= known


def test_every_command_is_documented() -> None:
    documented = {tuple(words[:depth]) for page in PAGES for words in command_lines(page) for depth in (1, 2)}
    assert {path for path, _ in commands()} <= documented


def test_environment_variables_are_read() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "medagent").rglob("*.py"))
    named = {name for page in PAGES for name in re.findall(r"MEDAGENT_[A-Z_]+", page.text)}
    assert named
    options = {option.variable for option in OPTIONS.values()}
    assert {name for name in named - options if f'"{name}"' not in source} == set()
