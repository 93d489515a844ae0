"""The command line in the test's own process: quicker than a child, with the same exit codes."""

from __future__ import annotations

import contextlib
import io
import sys
from unittest import mock

from medagent.cli.main import main
from medagent.testing.command import Finished


def run_main(*arguments: str) -> Finished:
    """Run `medagent` with these arguments to its end."""
    stdout, stderr = io.StringIO(), io.StringIO()
    exit_code = 0
    with (
        mock.patch.object(sys, "argv", ["medagent", *arguments]),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as ended:
            exit_code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Finished(exit_code, stdout.getvalue(), stderr.getvalue())
