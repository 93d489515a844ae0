"""How commands print: for people, or as JSON for machines."""

from __future__ import annotations

import enum
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence

__all__ = ["Format", "print_json", "table"]

LEAST_LAST_WIDTH = 20
"""Characters that the last column of a table keeps before the others give way too."""
LEAST_WIDTH = 8
"""Characters that every column of texts keeps, however narrow the terminal is."""
UNLIMITED = 100_000
"""Characters in a line of what is no terminal."""


class Format(enum.StrEnum):
    """`--format`."""

    TEXT = "text"
    """For people."""
    JSON = "json"
    """For machines."""


_TRAILING_SPACES = re.compile(r" +((?:\x1b\[[\d;]*m)*)$", re.MULTILINE)
"""With the ends of their colours."""


def print_json(value: object) -> None:
    """Print `value` as JSON on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, width: int = UNLIMITED) -> None:
    """Print `rows` under the headings `columns` as a table on standard output, below `title` unless that is "".

    Numbers are aligned to the right, None is shown as a dash.

    Nothing is cut: where the terminal is too narrow, headings break between words, then the last column wraps, then the other
    texts. A pipe has no width, unless `COLUMNS` gives it one. The table is at most `width` characters wide in any case.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    values = [list(row) for row in rows]
    texts = [["-" if value is None else str(value) for value in row] for row in values]
    numeric = [
        bool(values) and all(isinstance(row[index], int | float | None) for row in values) for index in range(len(columns))
    ]
    gaps = 2 * len(columns) - 2
    console = Console(highlight=False, width=UNLIMITED if not sys.stdout.isatty() and not os.environ.get("COLUMNS") else None)
    console.width = min(console.width, width)
    if sum(_widths(columns, texts)) + gaps > console.width:
        columns = [column.replace(" ", "\n") for column in columns]
    *others, last = widths = _widths(columns, texts)
    least = sum(width if number else min(width, LEAST_WIDTH) for width, number in zip(widths, numeric, strict=True))
    console.width = max(console.width, least + gaps)  # rather than a part of a number
    last = min(last, max(console.width - gaps - sum(others), LEAST_LAST_WIDTH))
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, number in zip(columns, numeric, strict=True):
        drawn.add_column(Text(column), justify="right" if number else "left", overflow="fold", no_wrap=number)
    drawn.columns[-1].max_width = last
    for row in texts:
        drawn.add_row(*map(Text, row))
    if title:
        console.print(Text(title, style="table.title"), soft_wrap=True)
    with console.capture() as printed:
        console.print(drawn, "")
    sys.stdout.write(_TRAILING_SPACES.sub(r"\1", printed.get()))


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Of each column, where nothing wraps."""
    from rich.cells import cell_len

    cells = zip(columns, *rows, strict=True)
    return [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in cells]
