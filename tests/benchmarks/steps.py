"""What is under way, shown on standard error, and how long it will take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress


class Steps:
    """Long work, step by step; a context manager."""

    def __init__(self, seconds: float) -> None:
        """`seconds` that all of it takes, about."""
        self._progress = Progress(console=Console(stderr=True), transient=True)
        self._progress.console.print(f"this takes about {_minutes(seconds)}")
        self._task = self._progress.add_task("", total=seconds)

    def __enter__(self) -> Steps:
        # a bar is for people who watch; what is kept gets a line for each step
        if self._progress.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.live.is_started:
            self._progress.stop()

    @contextlib.contextmanager
    def step(self, what: str, seconds: float) -> Iterator[None]:
        self._progress.update(self._task, description=what)
        if not self._progress.console.is_terminal:
            self.say(what)
        yield
        self._progress.advance(self._task, seconds)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


def _minutes(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 90 else f"{round(seconds / 60)} min"
