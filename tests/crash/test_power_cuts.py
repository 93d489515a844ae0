"""Power cuts in a small number, the proof that the checks find a missing flush, and a folder whose name nobody flushes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from medagent.testing.system_calls import complete, read_calls, strace

# a busy machine takes long to record
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(autouse=True)
def _needs_strace() -> None:
    if shutil.which("strace") is None:
        text = "strace is not installed: apt-get install strace"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)


OPEN_A_QUEUE = """
import asyncio, pathlib, sys
from medagent.queue.sqlite.store import SqliteStore

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]) / "queue.db")
    await store.open()
    await store.close()

asyncio.run(main())
"""


async def test_the_name_of_a_new_state_folder_is_flushed(tmp_path):
    state_dir, record = tmp_path / "parent" / "state", tmp_path / "calls"
    state_dir.parent.mkdir()
    command = (*strace(record), sys.executable, "-c", OPEN_A_QUEUE, str(state_dir))
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    await complete(record, process.pid)
    calls = read_calls(record, state_dir.parent)
    made = next(call.ended for call in calls if call.name == "mkdir" and call.path == str(state_dir))
    assert any(call.name == "fsync" and call.path == str(state_dir.parent) and call.started > made for call in calls)


async def figures_of(*arguments: str) -> tuple[int | None, dict[str, int]]:
    """Exit code and result of the program."""
    command = (sys.executable, str(Path(__file__).parent / "power_cuts.py"), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    stdout, stderr = await process.communicate()
    assert stdout, stderr.decode()
    return process.returncode, json.loads(stdout)


@pytest.mark.parametrize("strategy", ["batched", "immediate"])
async def test_nothing_acknowledged_is_lost(strategy: str) -> None:
    code, figures = await figures_of("--cuts", "50", "--messages", "150", "--strategy", strategy)
    seed = figures.pop("seed")
    assert code == 0, f"seed {seed}"
    assert figures == {"cuts": 150, "acknowledgments": 150, "too_early": 0, "lost": 0, "corrupt": 0, "violations": 0}


async def test_a_missing_flush_is_found() -> None:
    code, figures = await figures_of("--cuts", "20", "--messages", "60", "--strategy", "batched", "--careless")
    assert code == 1
    assert figures["too_early"] == figures["acknowledgments"] == 60
    assert figures["lost"] > 0


async def test_a_disk_that_lies_is_found() -> None:
    code, figures = await figures_of("--cuts", "20", "--messages", "60", "--strategy", "immediate", "--lies")
    assert code == 1
    assert figures["too_early"] == 0
    assert figures["lost"] > 0
