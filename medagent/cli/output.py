"""How commands print: for people, or as JSON for machines."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Iterable, Sequence


class Format(enum.StrEnum):
    """`--format`."""

    TEXT = "text"
    JSON = "json"


def print_json(value: object) -> None:
    """Print one JSON value on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; numbers are aligned to the right, None is shown as a dash."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    drawn = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
        drawn.add_column(Text(column), justify="right" if numeric else "left")
    for row in rows:
        drawn.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    Console(highlight=False).print(drawn)
