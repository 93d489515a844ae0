"""Reading of Markdown pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.markdown import Block, Page, rows

TEXT = """# Tool

See [more](other.md#part), `tool --fast` and ![a picture](picture.png).

```sh
# no heading
tool [x](no-link)
```

## What `run(a, b)` does

| Code | Means |
|---|---|
| 1 | a \\| b |

### Deeper

Still inside.

## End
"""


@pytest.fixture
def page(tmp_path: Path) -> Page:
    path = tmp_path / "page.md"
    path.write_text(TEXT, encoding="utf-8")
    return Page(path)


def test_blocks_are_apart_from_prose(page: Page) -> None:
    assert page.blocks == [Block("sh", "# no heading\ntool [x](no-link)\n")]
    assert page.links == ["other.md#part"]
    assert page.headings == ["Tool", "What run(a, b) does", "Deeper", "End"]
    assert page.code_spans == ["tool --fast", "run(a, b)"]


def test_anchors_are_made_of_headings(page: Page) -> None:
    assert page.anchors == {"tool", "what-runa-b-does", "deeper", "end"}


def test_a_section_ends_at_the_next_heading_of_its_level(page: Page) -> None:
    section = page.section("What run(a, b) does")
    assert "Still inside." in section
    assert "End" not in section
    with pytest.raises(LookupError):
        page.section("Nothing")


def test_rows_are_split_into_cells(page: Page) -> None:
    assert list(rows(page.text)) == [["Code", "Means"], ["---", "---"], ["1", "a | b"]]
