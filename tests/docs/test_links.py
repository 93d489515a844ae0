"""Links inside the repository lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.markdown import Page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md")])


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    page = Page(path)
    for link in page.links:
        if "://" in link:
            continue
        file, _, fragment = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside the repository"
        if fragment:
            assert fragment in Page(target).anchors, f"{link}: no such heading"


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = [link.partition("#")[0] for link in Page(path).links if "://" not in link]
        waiting += [(path.parent / link).resolve() for link in links if link]
    wanted = {path for path in PAGES if path.is_relative_to(ROOT / "docs") and "examples" not in path.parts}
    assert wanted <= reached
