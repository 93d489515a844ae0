"""Reading the project's Markdown pages, for tests that keep them true."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
_BORDER = re.compile(r"(?<!\\)\|")
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = [Block(match[2], match[3]) for match in _FENCE.finditer(self.text)]
        self.prose = _FENCE.sub("", self.text)
        """Everything but the blocks."""

    @property
    def code_spans(self) -> list[str]:
        return _CODE_SPAN.findall(self.prose)

    @property
    def headings(self) -> list[str]:
        """Their texts, without marks of code."""
        return [match[2].replace("`", "") for match in _HEADING.finditer(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """What `#fragment` may name, as GitHub and GitLab make it."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    def section(self, heading: str) -> str:
        """What stands under a heading, up to the next of the same or a higher level. Raises `LookupError`."""
        headings = list(_HEADING.finditer(self.prose))
        for index, match in enumerate(headings):
            if match[2].replace("`", "") == heading:
                ends = (later.start() for later in headings[index + 1 :] if len(later[1]) <= len(match[1]))
                return self.prose[match.end() : next(ends, None)]
        raise LookupError(f"{self.path}: no heading {heading!r}")


def with_generated(text: str, name: str, made: str) -> str:
    """`text` with what stands between the markers of this name replaced. Raises `ValueError` if they are not there."""
    start, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    return f"{before}{start}{made.strip()}\n{end}{after}"


def rows(text: str) -> Iterator[list[str]]:
    """The rows of the tables in `text`, heads and rules included, cell by cell."""
    for match in _ROW.finditer(text):
        yield [cell.strip().replace("\\|", "|") for cell in _BORDER.split(match[1])]
