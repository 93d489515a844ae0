"""A child process keeps out what its parent does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from medagent.interpreter import command_of

PRINTED = "import json; from medagent.interpreter import command_of; print(json.dumps(command_of('a.module', 'argument')))"


@pytest.mark.parametrize(("given", "kept"), [((), ()), (("-s",), ("-s",)), (("-E",), ("-E",)), (("-I",), ("-I", "-E", "-s"))])
def test_flags_of_this_python_are_those_of_its_children(given: tuple[str, ...], kept: tuple[str, ...]) -> None:
    printed = subprocess.run((sys.executable, *given, "-c", PRINTED), capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == [sys.executable, *kept, "-P", "-m", "a.module", "argument"]


def test_a_program_without_a_python_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(FileNotFoundError, match="does not know its own file"):
        command_of("a.module")
