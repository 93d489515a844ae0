"""How a command reaches a queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.admin import AdminServer
from medagent.cli import state
from medagent.cli.state import ask_or_read, state_dir_or_default
from medagent.errors import NotReady, QueueError, QueueHeld
from medagent.queue.lock import QueueLock


def test_the_folder_is_that_of_the_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDAGENT_STATE_DIR", str(tmp_path))
    assert state_dir_or_default(None) == tmp_path
    assert state_dir_or_default(Path("given")) == Path("given")


def test_a_look_leaves_no_trace(tmp_path: Path) -> None:
    assert ask_or_read(tmp_path, "stats", lambda: "read") == "read"
    assert list(tmp_path.iterdir()) == [], "else an agent of another user could not open what a look by root has made"


def test_nobody_holds_it_so_it_is_read_under_the_lock(tmp_path: Path) -> None:
    (tmp_path / "queue.lock").touch()

    (tmp_path / "queue.lock").touch()

    def read() -> str:
        assert not QueueLock(tmp_path).try_acquire()
        return "read"

    assert ask_or_read(tmp_path, "stats", read) == "read"

    def fail() -> str:
        raise QueueError("cannot read")

    with pytest.raises(QueueError, match="cannot read"):
        ask_or_read(tmp_path, "stats", fail)
    lock = QueueLock(tmp_path)
    assert lock.try_acquire(), "the lock is free again"
    lock.release()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no state folder"):
        ask_or_read(tmp_path / "missing", "stats", lambda: "read")
    assert not (tmp_path / "missing").exists(), "asking makes nothing"


def test_its_holder_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PATIENCE", 0.0)
    lock = QueueLock(tmp_path)
    assert lock.try_acquire()
    with pytest.raises(QueueHeld, match="does not answer"):
        ask_or_read(tmp_path, "stats", lambda: "read")
    lock.release()


def test_its_holder_ends_while_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = QueueLock(tmp_path)
    assert lock.try_acquire()

    def gone(folder: Path, command: str) -> object:
        lock.release()
        raise NotReady

    monkeypatch.setattr(state, "call", gone)
    assert ask_or_read(tmp_path, "stats", lambda: "read") == "read"


async def test_what_the_agent_left_of_its_socket_is_not_asked(tmp_path: Path) -> None:
    server = AdminServer(tmp_path, {})
    await server.start()
    assert ask_or_read(tmp_path, "stats", lambda: "read") == "read", "nobody holds the lock, so nobody is the agent"
    await server.close()
