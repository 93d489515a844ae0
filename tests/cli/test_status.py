"""`medagent status`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from medagent import __version__
from medagent.cli import state, status
from medagent.queue.lock import QueueLock
from medagent.report import queue_report
from medagent.testing.command_line import run_main
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource


@pytest.mark.parametrize("folder", [".", "missing"])
def test_with_no_agent_it_says_so(tmp_path: Path, folder: str) -> None:
    done = run_main("status", "--state-dir", str(tmp_path / folder))
    assert (done.exit_code, done.stdout) == (69, "")
    assert str(tmp_path) in done.stderr


def test_held_by_somebody_who_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PATIENCE", 0.0)
    lock = QueueLock(tmp_path)
    assert lock.try_acquire()
    assert run_main("status", "--state-dir", str(tmp_path)).exit_code == 75
    lock.release()


FAULT = {
    "plugin": "bedside",
    "where": "forward of channel ward-seven-east",
    "faults": 12,
    "last_fault": "committed: KeyError at medagent_bedside/plugin.py:88 in when_committed",
    "stopped": True,
    "seconds_left": 2.5,
}


def test_faults_of_plugins_fit_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = {
        "version": "1", "pid": 1, "uptime_seconds": 1, "state": "degraded", "reasons": [], "server": "", "channels": [],
        "plugin_faults": [FAULT], "queue": queue_report({}),
    }  # fmt: skip
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(status, "ask_or_read", lambda *_: report)
    shown = run_main("status", "--state-dir", str(tmp_path)).stdout
    lines = shown.splitlines()
    assert "Server: none given; messages are kept" in lines
    table = lines[lines.index("Faults of plugins since the agent's start") :]
    assert max(map(len, table)) <= 100
    assert "medagent_bedside/plugin.py:88" in shown, "a place is not torn"
    assert all(line == line.rstrip() for line in lines)


async def test_of_a_running_agent(tmp_path: Path) -> None:
    agent = tmp_path / "agent.json"
    agent.write_text(json.dumps(agent_resource(name="Ward 7")))
    async with AgentProcess("--agent", str(agent), "--state-dir", str(tmp_path)) as process:
        await process.logged("configured as")
        as_json = await asyncio.to_thread(run_main, "status", "--state-dir", str(tmp_path), "--format", "json")
        assert as_json.exit_code == 0
        report = as_json.json
        assert (report["version"], report["pid"], report["agent"]["name"]) == (__version__, process.pid, "Ward 7")
        assert (report["state"] == "ok") == (report["reasons"] == [])
        assert report["queue"]["depth"] == 0
        as_text = await asyncio.to_thread(run_main, "status", "--state-dir", str(tmp_path))
        assert as_text.stdout.startswith(f"medagent {__version__}, process {process.pid}, up ")
        assert "Agent Ward 7" in as_text.stdout
        assert await process.stop() == 0
    assert run_main("status", "--state-dir", str(tmp_path)).exit_code == 69
