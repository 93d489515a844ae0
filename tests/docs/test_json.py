"""JSON in the documentation is JSON, and Agents in it are without fault."""

from __future__ import annotations

import importlib.metadata
import json
import tomllib
from pathlib import Path

import pytest

from medagent.config.problems import Severity
from medagent.configure import configure
from medagent.fhir.source import from_files
from medagent.plugins import Plugins
from medagent.testing.markdown import Block, Page

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [
    (str(path.relative_to(ROOT)), block)
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    for block in Page(path).blocks
    if block.language == "json"
]


def plugins_with_examples() -> Plugins:
    plugins = Plugins()
    for project in sorted((ROOT / "docs" / "examples").glob("*/pyproject.toml")):
        entry_points = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]["medagent"]
        for name, value in entry_points.items():
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(project.parent)
                plugins.register(importlib.metadata.EntryPoint(name, value, "medagent").load(), name)
    return plugins


@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=[name for name, _ in BLOCKS])
async def test_json_is_right(block: Block, tmp_path: Path) -> None:
    document = json.loads(block.text)
    if document.get("resourceType") not in ("Agent", "Bundle"):
        return
    (tmp_path / "agent.json").write_text(block.text, encoding="utf-8")
    source = await from_files([tmp_path / "agent.json"])
    config, problems = configure(source, plugins_with_examples(), bind_any=False, local=False)
    assert config is not None
    assert [str(problem) for problem in problems if problem.severity is Severity.ERROR] == []


def test_the_readme_shows_a_whole_configuration() -> None:
    (block,) = [block for name, block in BLOCKS if name == "README.md"]
    assert [entry["resource"]["resourceType"] for entry in json.loads(block.text)["entry"]] == ["Agent", "Endpoint"]
