"""Tables of the documentation that no other test looks at."""

from __future__ import annotations

from pathlib import Path

from medagent.testing.fhir_server import FhirServer
from medagent.testing.in_process import connected
from medagent.testing.markdown import Page, rows
from medagent.testing.resources import agent_resource

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_index_has_no_row_twice() -> None:
    lines = [tuple(cells) for cells in rows(Page(DOCS / "index.md").prose) if not set("".join(cells)) <= {"-"}]
    assert len(lines) == len(set(lines))


async def test_every_file_of_the_state_folder_is_described(tmp_path: Path) -> None:
    listed = " ".join(cells[0] for cells in rows(Page(DOCS / "queue-file.md").prose))
    async with FhirServer(agent_resource()) as server, connected(server, tmp_path):
        found = {path.name for path in tmp_path.iterdir()}
    assert "snapshot.json" in found
    assert {name for name in found if f"`{name}`" not in listed} == set()
