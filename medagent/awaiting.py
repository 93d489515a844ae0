"""Waiting for what a plugin has begun, without being at its mercy."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from medagent.errors import BrokenPromise, PluginTimeout


# arguments and results are the plugin's
async def awaited(result: Any, seconds: float | None = None) -> Any:
    """What a plugin returned, awaited if it must be.

    Raises `PluginTimeout` if that takes more than `seconds`, and `BrokenPromise` if it goes wrong in a way that would end more
    than the plugin; other exceptions pass.
    """
    if not inspect.isawaitable(result):
        return result

    async def guarded() -> Any:
        try:
            return await result
        except (Exception, asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise BrokenPromise.by(error) from error

    task = asyncio.ensure_future(guarded())
    try:
        await asyncio.wait((task,), timeout=seconds)
        if task.cancelled():
            raise BrokenPromise("it cancelled itself")
        if not task.done():
            raise PluginTimeout(f"it took more than {seconds:g} s")
        return task.result()
    finally:
        task.cancel()
