"""The benchmark, tiny: that it works and what it keeps, not how long anything takes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).with_name("bench.py")
CEILINGS = ("fdatasync", "sqlite_1", "sqlite_10", "sqlite_50", "sqlite_100", "sqlite_500")
ENDS = ("mllp", "mllp_lockstep1", "websocket", "websocket_lockstep1")
STEADY = ("pipelined", "lockstep50", "lockstep1", "delay20")
PACED = ("rate1000enhanced", "rate1000", "rate10000", "server-silent", "idle", "backlog")
OF_DEVICES = ("growth-rate", "growth-connections", "growth-channels")
OF_THE_REST = ("growth-size", "growth-backlog", "growth-plugins")


# a report: plain JSON
async def measured(out: Path, *arguments: str) -> dict[str, Any]:
    """What a tiny run keeps."""
    tiny = ("run", "--rounds", "1", "--scale", "0.0005", "--last", "--backlog", "2000", "--out", str(out))
    command = (sys.executable, str(BENCH), *tiny, *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stdout.decode() + stderr.decode()
    kept: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return kept | {"printed": stdout.decode()}


async def output(*arguments: str) -> str:
    """What the program prints."""
    process = await asyncio.create_subprocess_exec(sys.executable, str(BENCH), *arguments, stdout=subprocess.PIPE)
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return stdout.decode()


@pytest.mark.parametrize("names", [(*CEILINGS, *ENDS, *STEADY), PACED], ids=["steady", "paced"])
async def test_each_scenario_and_ceiling_has_its_figures(names: Sequence[str], tmp_path: Path) -> None:
    report = await measured(tmp_path, "--only", *names)
    measured_names = [*report["ceilings"], *(row["scenario"] for row in report["figures"])]
    assert sorted(measured_names) == sorted(names)
    assert all(ceiling["rate"] > 0 for ceiling in report["ceilings"].values())
    for row in report["figures"]:
        assert not any(row["faults"].values())
        assert row["median"].get("rate", 1) > 0
        assert row["scenario"] in report["printed"]
    shown = [await output("show", str(tmp_path / "figures.json"), *options) for options in ((), ("--format", "markdown"))]
    assert all(row["scenario"] in text for row in report["figures"] for text in shown)
    assert {"commit", "cpu", "cores", "kernel", "sqlite", "file_system"} < report["machine"].keys()


async def test_each_cost_has_its_figures(tmp_path: Path) -> None:
    report = await measured(tmp_path, "--only", "pipelined", "costs")
    for row in report["costs"]:
        assert row["cost"] in report["printed"]
        assert isinstance(row["us"]["100"], float)
        assert isinstance(row["share"], float)
    found = {row["cost"]: row["us"]["100"] for row in report["costs"]}
    assert found["commit"] > found["digest"] > 0
    assert "0 lines of log" in report["printed"]


@pytest.mark.parametrize("names", [OF_DEVICES, OF_THE_REST], ids=["devices", "rest"])
async def test_each_curve_is_drawn(names: Sequence[str], tmp_path: Path) -> None:
    report = await measured(tmp_path, "--only", *names)
    assert [f"growth-{curve['curve']}" for curve in report["curves"]] == list(names)
    for curve in report["curves"]:
        assert len(curve["points"]) == 1
        assert (tmp_path / f"{curve['curve']}.svg").read_text().startswith("<?xml")
    drawn = tmp_path / f"{report['curves'][0]['curve']}.svg"
    drawn.unlink()
    assert str(drawn) in await output("plot", str(tmp_path / "figures.json"))
    assert drawn.exists()


async def test_two_agents_take_turns(tmp_path: Path) -> None:
    report = await measured(tmp_path, "--only", "lockstep10", "--versus", sys.executable, "--format", "json")
    assert [row["side"] for row in report["figures"]] == ["A", "B"]
    assert {ratio["figure"] for ratio in report["ratios"]} >= {"rate", "AA_p50_ms"}
    assert json.loads(report["printed"])["ratios"] == report["ratios"]
