"""The benchmark, tiny: that it works and what it keeps, not how long anything takes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

BENCH = Path(__file__).with_name("bench.py")
TINY = ("run", "--rounds", "1", "--scale", "0.0005", "--last", "--backlog", "1000")
# of those that differ in their numbers only, one
SCENARIOS = ("pipelined", "lockstep1", "server-silent", "backlog")
CURVES = ("growth-rate", "growth-size", "growth-backlog")
MANY = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import bench
said = []
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["bench.py", *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        try:
            status = bench.main()
        except SystemExit as error:
            status = error.code
    said.append([status, stderr.getvalue().splitlines()[-1]])
print(json.dumps(said))
"""
"""The program again and again in one process, as its imports take most of the time of a usage error."""


async def ended(*command: str) -> tuple[int | None, str, str]:
    """Status and output of a program."""
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, stderr=PIPE)
    stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()


# a report: plain JSON
async def measured(out: Path, *arguments: str) -> dict[str, Any]:
    """What a tiny run keeps."""
    status, printed, said = await ended(str(BENCH), *TINY, "--out", str(out), *arguments)
    assert status == 0, printed + said
    return kept(out) | {"printed": printed, "said": said}


def kept(out: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return report


async def output(*arguments: str) -> str:
    """What the program prints."""
    status, printed, said = await ended(str(BENCH), *arguments)
    assert status == 0, said
    return printed


async def test_each_scenario_and_ceiling_has_its_figures(tmp_path: Path) -> None:
    (tmp_path / "size.svg").touch()
    report = await measured(tmp_path, "--only", "fdatasync", "sqlite_500", *SCENARIOS)
    assert not (tmp_path / "size.svg").exists(), "a plot of other figures"
    assert [row["scenario"] for row in report["figures"]] == list(SCENARIOS)
    beside = {"sqlite_1", "mllp_lockstep1", "websocket_lockstep1", "sqlite_100", "mllp", "websocket"}
    assert report["ceilings"].keys() == {"fdatasync", "sqlite_500"} | beside
    assert all(ceiling["rate"] > 0 for ceiling in report["ceilings"].values())
    for row in report["figures"]:
        assert not any(row["faults"].values())
        assert row["median"]["rate"] > 0
        assert "rate" in row["beside"]
        assert row["scenario"] in report["printed"]
    assert {"commit", "cpu", "cores", "kernel", "sqlite", "file_system", "libraries"} < report["machine"].keys()
    assert not any(line.endswith(" ") for line in report["printed"].splitlines())


async def test_each_cost_has_its_figures(tmp_path: Path) -> None:
    report = await measured(tmp_path, "--only", "costs")
    costs = {row["cost"]: row["us"]["100"] for row in report["costs"]}
    assert costs["commit"] > costs["digest"] > 0
    assert all(cost in report["printed"] for cost in costs)
    assert "0 lines of log" in report["printed"]


async def test_kept_curves_are_drawn_again(tmp_path: Path) -> None:
    report = await measured(tmp_path, "--only", *CURVES)
    assert [f"growth-{curve['curve']}" for curve in report["curves"]] == list(CURVES)
    assert not list(tmp_path.glob("*.svg")), "a curve of one point"
    for curve in report["curves"]:
        [point] = curve["points"]
        curve["points"] = [point | {"x": point["x"] / 10}, point]
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps(report))
    drawn = (await output("plot", str(figures))).splitlines()
    assert drawn == [str(tmp_path / f"{curve['curve']}.svg") for curve in report["curves"]]
    assert all(Path(path).read_text().startswith("<?xml") for path in drawn)


async def test_two_agents_take_turns(tmp_path: Path) -> None:
    settings = ("--setting", "batchSize=7", "--versus", "same")
    report = await measured(tmp_path, "--only", "rate1000enhanced", "growth-plugins", *settings, "--format", "json")
    assert [row["side"] for row in report["figures"]] == ["A", "B"]
    assert {ratio["figure"] for ratio in report["ratios"]} >= {"rate", "AA_p50_ms"}
    assert json.loads(report["printed"])["ratios"] == report["ratios"]
    assert {side: agent["settings"] for side, agent in report["agents"].items()} == {"A": {"batchSize": 7}, "B": {}}
    assert not report["same_agent"]
    [curve] = report["curves"]
    shown = await output("show", str(tmp_path / "figures.json"))
    assert all(text in shown for text in ("A divided by B", "with batchSize 7", curve["what"]))
    assert "rate1000enhanced, B1" in report["said"].splitlines()


async def test_an_interrupted_run_keeps_what_it_has(tmp_path: Path) -> None:
    command = (str(BENCH), *TINY, "--only", "idle", "fdatasync", "--out", str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=PIPE, stderr=PIPE)
    assert process.stderr is not None
    while not (line := await process.stderr.readline()).startswith(b"idle"):
        assert line
    process.send_signal(signal.SIGINT)
    stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode().splitlines() == [f"interrupted; {tmp_path} has what was measured"]
    assert "fdatasync" in kept(tmp_path)["ceilings"]


async def test_an_agent_that_does_not_start_leaves_the_others_their_figures(tmp_path: Path) -> None:
    """It has a version, as what is measured must, and ends when it is run."""
    broken = tmp_path / "python"
    broken.write_text(f'#!/bin/sh\n[ "$2" = medagent ] && exit 3\nexec {sys.executable} "$@"\n')
    broken.chmod(0o755)
    out = tmp_path / "out"
    arguments = (*TINY, "--only", "fdatasync", "idle", "growth-rate", "--python", str(broken), "--out", str(out))
    status, printed, said = await ended(str(BENCH), *arguments)
    assert status == 1
    assert "idle failed: the agent has ended" in said
    assert "FAILED: idle, growth-rate" in printed
    assert kept(out)["failed"] == ["idle", "growth-rate"]
    assert "fdatasync" in kept(out)["ceilings"]


async def test_what_cannot_be_done_is_told_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("{}")
    wrong = {
        ("run", "--rounds", "0"): "no whole number from 1 on",
        ("run", "--scale", "0"): "no number above 0",
        ("run", "--scale", "-1"): "no number above 0",
        ("run", "--scale", "nan"): "no number above 0",
        ("run", "--backlog", "0"): "no whole number from 1 on",
        ("run", "--only", "nothing"): "`bench.py list` has them",
        ("run", "--setting", "batchSize"): "no value in JSON",
        ("run", "--setting", "nothing=1"): "no setting of an agent",
        ("run", "--versus", str(tmp_path)): "is a folder: give the python of an environment",
        ("run", "--versus", str(Path(sys.executable).parent)): f"is a folder: give {Path(sys.executable).parent / 'python'}",
        ("run", "--versus", "/bin/true"): "is no Python with medagent",
        ("run", "--versus", str(file)): "cannot be run",
        ("run", "--out", str(file / "below")): "cannot be made",
        ("show", str(tmp_path)): "Is a directory",
        ("plot", str(tmp_path / "missing")): "No such file",
        ("plot", str(file)): "is no report of a run",
    }
    _, printed, said = await ended("-c", MANY, str(BENCH.parent), json.dumps(list(wrong)))
    assert printed, said
    for (arguments, sentence), (status, line) in zip(wrong.items(), json.loads(printed), strict=True):
        assert status == 2, arguments
        assert sentence in line, arguments


async def test_the_list_explains_what_can_be_measured() -> None:
    listed = await output("list")
    for name in ("fdatasync", "websocket_lockstep1", *SCENARIOS, *CURVES, "costs"):
        assert [line for line in listed.splitlines() if line.startswith(f"  {name}  ")], name
