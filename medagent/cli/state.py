"""How a command reaches a queue: the lock's holder is asked; if nobody holds it, the command takes it and reads the file."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from medagent.admin import call
from medagent.config.bootstrap import default_state_dir
from medagent.errors import NotReady, QueueHeld
from medagent.queue.lock import QueueLock

T = TypeVar("T")

StateDir = Annotated[
    Path | None, typer.Option("--state-dir", help="Folder of the queue; the default is that of `medagent run`.")
]

PATIENCE = 5.0
"""Seconds that a command waits for an agent that holds the lock to open its socket."""


def state_dir_or_default(given: Path | None) -> Path:
    return given or default_state_dir(os.environ)


def ask_or_read(state_dir: Path, command: str, read: Callable[[], Any]) -> Any:
    """The agent's answer to `command`, or what `read` finds while this process holds the lock; both decoded JSON.

    Raises `QueueHeld` if somebody holds the queue and does not answer.
    """
    return hold_or_ask(state_dir, read, lambda: call(state_dir, command))


def hold_or_ask(state_dir: Path, held: Callable[[], T], ask: Callable[[], T]) -> T:
    """What `held` returns while this process holds the lock, or `ask` by the agent's socket if an agent holds it.

    Raises `QueueHeld` if somebody holds the queue and does not answer.
    """
    if not state_dir.is_dir():
        raise NotReady(f"there is no state folder {state_dir}: has an agent run there? give --state-dir")
    lock = QueueLock(state_dir)
    end = time.monotonic() + PATIENCE
    while True:
        if lock.try_acquire_for_reading():
            try:
                return held()
            finally:
                lock.release()
        try:
            return ask()
        except NotReady:
            if time.monotonic() > end:
                raise QueueHeld(f"{lock.holder} holds the queue in {state_dir} and does not answer") from None
            time.sleep(0.1)
