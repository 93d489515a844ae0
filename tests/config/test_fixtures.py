"""Each folder of fixtures/ holds an Agent and what it must become.

`UPDATE_EXPECTED=1 pytest tests/config/test_fixtures.py` rewrites the expectations; review the difference before keeping it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from medagent.config.build import build
from medagent.config.describe import describe, describe_problems
from medagent.fhir.source import from_files
from medagent.plugins import build_registry

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


@pytest.mark.parametrize("folder", sorted(path.parent for path in FIXTURES.glob("*/agent.json")), ids=lambda path: path.name)
async def test_fixture(folder: Path) -> None:
    registry, schemes = build_registry()
    source = replace(await from_files([folder / "agent.json"]), origin="agent.json")

    config, problems = build(source, registry, schemes=schemes, local=False)

    described = None if config is None else describe(config)
    if described is not None:
        del described["settings"], described["given"]  # the fields say it already
    actual = {"configuration": described, "problems": describe_problems(problems)}
    expected = folder / "expected.json"
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(json.dumps(actual, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    assert actual == json.loads(expected.read_text(encoding="utf-8"))
