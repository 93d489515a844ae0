"""Disks that are full or fail: what is refused, what is kept, and when it is well again. Faults come by `LD_PRELOAD`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medagent.testing.faulty_disk import build

WORK = """
import asyncio, json, sys
from pathlib import Path
from medagent.errors import StorageFailed
from medagent.queue.base import Change
from medagent.queue.sqlite.store import SqliteStore
from medagent.types import InboundMessage, State

class Clock:
    now = 1000.0
    def monotonic(self): return self.now
    def time(self): return 1e9 + self.now

async def main(folder, operations):
    clock = Clock()
    store = SqliteStore(Path(folder) / "queue.db", clock=clock)
    try:
        newest = await store.open()
    except Exception as error:
        print(json.dumps({"opened": False, "error": str(error)}))
        return
    kept, refused, others = [], [], []
    for number in range(operations):
        seq = newest + number + 1
        made = InboundMessage(b"x" * (number % 7 * 3000), f"m{seq}", "r", "l", channel="adt", seq=seq, callback=f"k{seq}")
        try:
            await store.commit([made], [])
            kept.append(seq)
        except StorageFailed:
            refused.append(seq)
        except Exception as error:
            others.append(repr(error))
        clock.now += 1.0
        await store.maintain()
    for _ in range(60):
        clock.now += 1.0
        await store.maintain()
    reasons = store.reasons()
    try:
        await store.close()
    except Exception as error:
        others.append(repr(error))
    print(json.dumps({"opened": True, "kept": kept, "refused": refused, "others": others, "reasons": reasons}))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler, cc: see .ci/run")
        pytest.skip("needs a C compiler, cc")
    return build(tmp_path_factory.mktemp("faulty"))


def work(folder: Path, operations: int, **faults: str) -> dict:
    environ = os.environ | faults
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(folder), str(operations)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def stored(folder: Path) -> list[str]:
    from medagent.testing.queue_file import counters_agree, read_messages

    assert counters_agree(folder / "queue.db")
    return [row.control_id for row in read_messages(folder / "queue.db")]


STEP = 1 if os.environ.get("MEDAGENT_LONG_TESTS") else 53
"""`make disk-faults` tries every k."""


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("code", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("times", [1, 40], ids=["once", "for a while"])
def test_the_kth_call_fails(tmp_path: Path, library: Path, call: str, code: str, times: int) -> None:
    # what is kept is there after a restart, whichever call failed; and it recovers by itself
    for number, kth in enumerate(range(1, 200, STEP)):
        folder = tmp_path / str(number)
        folder.mkdir(mode=0o700)
        faults = {
            "LD_PRELOAD": str(library),
            "FAULT_CALL": call,
            "FAULT_CODE": code,
            "FAULT_AT": str(kth),
            "FAULT_TIMES": str(times),
        }
        done = work(folder, 60, **faults, FAULT_UNDER=str(folder))
        if not done["opened"]:
            continue
        assert done["others"] == []
        assert done["reasons"] == [], "it is well again"
        assert len(done["kept"]) + len(done["refused"]) == 60
        here = stored(folder)
        assert set(here) >= {f"m{seq}" for seq in done["kept"]}, f"{call} {kth}"


def test_a_file_size_limit(tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))

    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path), "80"],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["kept"], result
    assert result["refused"]
    assert result["others"] == []
    assert result["reasons"]
    assert done.stderr.count("messages are refused until it is well") <= 2
    assert set(stored(tmp_path)) >= {f"m{seq}" for seq in result["kept"]}
    # without the limit it goes on
    again = work(tmp_path, 5)
    assert again["refused"] == []
