"""`medagent queue backup`."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medagent.admin import call
from medagent.cli.output import Format, print_json
from medagent.cli.state import StateDir, hold_or_ask, state_dir_or_default
from medagent.errors import QueueError

if TYPE_CHECKING:
    from medagent.queue.sqlite.backup import Copied

RENEW_SECONDS = 1.0


def backup(
    file: Annotated[Path, typer.Argument(help="The copy to make; it must not be there yet.")],
    state_dir: StateDir = None,
    output: Annotated[Format, typer.Option("--format", help="For people or for machines.")] = Format.TEXT,
) -> None:
    """Copy the queue to a file, whether its agent runs or not, and look at every message of the copy.

    While it is copied messages are stored and sent as ever. The copy holds patient data: only its owner may read it (0600).
    To restore it, stop the agent, put the copy in the place of `queue.db`, delete `queue.db-wal` and start it; messages that
    were sent since the copy was made are sent again, under the same keys.

    Example: medagent queue backup /backup/queue-monday.db
    """
    folder = state_dir_or_default(state_dir)
    copied = hold_or_ask(folder, lambda: _copy(folder, file, _at_rest), lambda: _copy(folder, file, _in_use))
    if output is Format.JSON:
        figures = {"messages": copied.messages, "live": copied.live, "changed": copied.changed, "bytes": copied.size}
        print_json({"file": str(file), **figures})
    else:
        typer.echo(f"{file}: {copied.messages} messages, {copied.live} of them live, {copied.size:,} bytes")
    if copied.changed:
        raise QueueError(
            f"the copy is made, but {copied.changed} message(s) in it are not what was stored: they have changed on the disk"
        )


def _copy(folder: Path, file: Path, how: Callable[[Path, Path, Callable[[int, int], None]], None]) -> Copied:
    from medagent.queue.sqlite.backup import new_file, verify
    from medagent.queue.sqlite.store import QUEUE_NAME

    source = folder / QUEUE_NAME
    if not source.exists():
        raise QueueError(f"there is no queue in {folder}")
    with new_file(file) as part:
        bar = typer.progressbar(length=1, label="copying", file=sys.stderr) if sys.stderr.isatty() else nullcontext()
        with bar as shown:

            def progress(done: int, total: int) -> None:
                if shown is not None:
                    shown.length = total
                    shown.update(done - shown.pos)

            try:
                how(source, part, progress)
            except (OSError, sqlite3.Error) as error:
                reason = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or type(error).__name__
                saves = "if it is damaged, its agent saves at its start what can be read"
                raise QueueError(f"the queue {source} cannot be copied ({reason}); {saves}") from error
        return verify(part)


def _at_rest(source: Path, part: Path, progress: Callable[[int, int], None]) -> None:
    from medagent.queue.sqlite.backup import copy_at_rest

    copy_at_rest(source, part, progress)


def _in_use(source: Path, part: Path, progress: Callable[[int, int], None]) -> None:
    from medagent.queue.sqlite.backup import copy_bytes

    due, token = 0.0, ""

    def renew() -> None:
        nonlocal due, token
        if time.monotonic() >= due:
            token = call(source.parent, "hold", token=token)
            due = time.monotonic() + RENEW_SECONDS

    renew()
    copy_bytes(source, part, renew, progress)
    if not call(source.parent, "release", token=token):
        raise QueueError("the queue's file has changed while it was copied: try again")
