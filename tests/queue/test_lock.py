"""One agent a queue: the lock between real processes."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from medagent.errors import QueueError, QueueHeld
from medagent.queue import lock as lock_module
from medagent.queue.lock import QueueLock

HOLDER = """
import sys, time
from pathlib import Path
from medagent.queue.lock import QueueLock
lock = QueueLock(Path(sys.argv[1]))
print(lock.try_acquire(), flush=True)
sys.stdin.read()
"""

ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from medagent.queue.lock import QueueLock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(QueueLock(Path(sys.argv[1])).try_acquire())
"""


async def start_holder(folder: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"True\n"
    return process


async def kill(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.communicate()


async def test_who_does_not_wait_is_told_who_holds_it(tmp_path: Path) -> None:
    holder = await start_holder(tmp_path)
    try:
        with pytest.raises(QueueHeld, match=f"process {holder.pid} holds the queue"):
            await QueueLock(tmp_path).acquire(wait=False)
    finally:
        await kill(holder)


async def test_who_waits_takes_over_when_the_holder_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "POLL_SECONDS", 0.01)
    holder = await start_holder(tmp_path)
    waiting = asyncio.Event()
    lock = QueueLock(tmp_path)
    follower = asyncio.ensure_future(lock.acquire(wait=True, waiting=waiting.set))
    await waiting.wait()
    assert not follower.done()
    await kill(holder)
    await asyncio.wait_for(follower, 10)
    assert not QueueLock(tmp_path).try_acquire()
    lock.release()


async def test_a_killed_holder_leaves_only_text(tmp_path: Path) -> None:
    holder = await start_holder(tmp_path)
    await kill(holder)
    assert QueueLock(tmp_path).holder == f"process {holder.pid}"
    lock = QueueLock(tmp_path)
    assert lock.try_acquire()
    assert lock.holder != f"process {holder.pid}"
    lock.release()


def test_released_it_is_free(tmp_path: Path) -> None:
    lock = QueueLock(tmp_path / "deep" / "state")
    assert lock.try_acquire()
    assert not QueueLock(tmp_path / "deep" / "state").try_acquire()
    lock.release()
    lock.release()
    assert lock.try_acquire()
    lock.release()


def test_its_file_and_folder_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    lock = QueueLock(folder)
    assert lock.try_acquire()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "queue.lock")] == [0o700, 0o600]
    lock.release()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"12 34", b"no number"])
def test_text_that_names_no_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "queue.lock").write_bytes(content)
    assert QueueLock(tmp_path).holder == "another process"
    lock = QueueLock(tmp_path)
    assert lock.try_acquire()
    lock.release()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(QueueError, match="state folder"):
        QueueLock(tmp_path / "file").try_acquire()


def test_a_full_disk_does_not_keep_the_agent_from_its_queue(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "True\n", done.stderr
