"""Errors and the exit codes that scripts rely on."""

from __future__ import annotations

import os

import pytest

from medagent import errors


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.MedagentError, 1),
        (errors.ConfigError, os.EX_CONFIG),
        (errors.PluginError, os.EX_CONFIG),
        (errors.NotReady, os.EX_UNAVAILABLE),
        (errors.AuthenticationFailed, os.EX_NOPERM),
        (errors.QueueError, 1),
        (errors.QueueHeld, os.EX_TEMPFAIL),
        (errors.ChannelError, 1),
        (errors.BindFailed, 1),
    ],
)
def test_each_error_has_a_default_text_and_its_exit_code(error: type[errors.MedagentError], exit_code: int) -> None:
    assert error.exit_code == exit_code
    assert str(error()) == error.__doc__
    assert str(error("the port 2575 is taken")) == "the port 2575 is taken"
    assert issubclass(error, errors.MedagentError)
