"""Where in a plugin's code something happened, in words that hold nothing of a message."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import PurePath
from types import FrameType


def place_of(frame: FrameType, line: int) -> str:
    """Such as `medagent_bedside/plugin.py:88 in medagent_startup`; the file is relative to where its package lies."""
    file = PurePath(frame.f_code.co_filename)
    depth = str(frame.f_globals.get("__name__", "")).count(".") + 1 + (file.name == "__init__.py")
    return f"{'/'.join(file.parts[-depth:])}:{line} in {frame.f_code.co_name}"


def raised_at(error: BaseException, is_own: Callable[[FrameType], bool]) -> str:
    """` at ` and the innermost place that `error`, or what has caused it, went through and that is somebody's own, or ""."""
    for one in (error, error.__cause__):
        own = [step for step in traceback.walk_tb(one.__traceback__) if is_own(step[0])] if one is not None else []
        if own:
            return f" at {place_of(*own[-1])}"
    return ""
