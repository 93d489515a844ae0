"""This Python once more, for a child process."""

from __future__ import annotations

import errno
import sys


def command_of(module: str, *arguments: str) -> list[str]:
    """What runs a module as this process would: with its Python, and keeping out what that was told to.

    Raises `FileNotFoundError` in a program that has Python inside it and does not know a file of it.
    """
    if not sys.executable:
        raise FileNotFoundError(errno.ENOENT, "this Python does not know its own file")
    given = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    flags = [flag for flag, is_set in given.items() if is_set]
    # -P: nothing is imported from the current folder
    return [sys.executable, *flags, "-P", "-m", module, *arguments]
