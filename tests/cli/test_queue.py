"""`medagent queue stats`, with and without an agent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from medagent.cli import queue, state
from medagent.queue.base import Change, ChannelDepth
from medagent.queue.lock import QueueLock
from medagent.queue.sqlite.store import SqliteStore
from medagent.report import add_statistics, queue_report
from medagent.statistics import Statistics
from medagent.testing.command_line import run_main
from medagent.testing.process import AgentProcess
from medagent.testing.queue import message
from medagent.testing.resources import agent_resource
from medagent.types import State


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A state folder with three messages in its queue."""
    store = SqliteStore(tmp_path / "queue.db")
    await store.open()
    batch = [message(name) for name in "abc"]
    for seq, one in enumerate(batch, 1):
        one.seq, one.channel, one.callback = seq, "adt" if seq < 3 else "oru", f"key-{seq}"
    await store.commit(batch, [])
    await store.commit([], [Change(batch[0], State.RESPONSE_SENT)])
    await store.close()
    return tmp_path


def test_without_an_agent_the_file_is_read(folder: Path) -> None:
    done = run_main("queue", "stats", "--state-dir", str(folder), "--format", "json")
    assert done.exit_code == 0
    assert (done.json["accepted"], done.json["depth"]) == (3, 2)
    assert done.json["states"]["response_sent"] == 1
    assert done.json["channels"]["oru"]["states"]["received"] == 1
    assert done.json["oldest_age_seconds"] > 0


def test_as_a_table_for_people(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = run_main("queue", "stats", "--state-dir", str(folder))
    assert done.exit_code == 0
    rows = {words[0]: words[1:3] for line in done.stdout.splitlines() if (words := line.split())}
    assert (rows["adt"], rows["oru"], rows["all"]) == (["2", "1"], ["1", "1"], ["3", "2"])
    assert "response sent" in done.stdout
    assert "dead letter" not in done.stdout, "states that nothing is in are left out"


USED = (State.RECEIVED, State.SENT, State.ERROR, State.RESPONSE_SENT, State.RESPONSE_UNDELIVERED, State.DEAD_LETTER)


def test_a_terminal_of_80_columns_is_enough(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    counts = {state: 10**index for index, state in enumerate(USED)}
    names = ("adt", "$push", "oru", "laboratory")
    statistics = Statistics()
    for name in names:
        statistics.channel(name)
    queue.show(add_statistics(queue_report({name: ChannelDepth(counts, 1.0, 7) for name in names}), statistics, 1.0))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    for line in ("     1 received", "   100 error", "  1000 response sent", " 10000 response undelivered", "     7 deleted"):
        assert [shown.endswith(line) for shown in lines].count(True) == len(names), line
    assert [line.split()[0] for line in lines if line[:1] not in " ─" and "111118" in line] == list(names)


def test_where_no_message_ever_was(tmp_path: Path) -> None:
    done = run_main("queue", "stats", "--state-dir", str(tmp_path))
    assert (done.exit_code, done.stdout) == (0, "The queue holds no messages.\n")
    assert run_main("queue", "stats", "--state-dir", str(tmp_path), "--format", "json").json["depth"] == 0


def test_where_no_agent_ever_ran(tmp_path: Path) -> None:
    done = run_main("queue", "stats", "--state-dir", str(tmp_path / "missing"))
    assert done.exit_code == 69
    assert "has an agent run there?" in done.stderr


def test_held_by_somebody_who_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "PATIENCE", 0.0)
    lock = QueueLock(folder)
    assert lock.try_acquire()
    done = run_main("queue", "stats", "--state-dir", str(folder))
    lock.release()
    assert done.exit_code == 75
    assert "holds the queue" in done.stderr


def test_a_file_that_is_no_queue(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"garbage" * 1000)
    done = run_main("queue", "stats", "--state-dir", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.startswith("medagent: cannot read the queue")


@pytest.mark.parametrize(("refused", "reused"), [(0, 0), (3, 0), (3, 2)])
def test_refusals_and_reused_control_ids_are_shown_unless_there_are_none(
    capsys: pytest.CaptureFixture[str], refused: int, reused: int
) -> None:
    report = queue_report({"adt": ChannelDepth({State.RECEIVED: 1}, 1.0)})
    queue.show(report | {"refused": refused, "reused_control_ids": reused})
    shown = capsys.readouterr().out
    assert ("Messages that the queue refused since the agent's start: 3" in shown) is bool(refused)
    assert ("Messages accepted under the control ID of another since the agent's start: 2" in shown) is bool(reused)


async def test_the_running_agent_is_asked(folder: Path) -> None:
    agent = folder / "agent.json"
    agent.write_text(json.dumps(agent_resource()))
    async with AgentProcess("--agent", str(agent), "--state-dir", str(folder)) as process:
        await process.logged("configured as")
        done = await asyncio.to_thread(run_main, "queue", "stats", "--state-dir", str(folder), "--format", "json")
        assert done.exit_code == 0
        assert (done.json["accepted"], done.json["in_flight"]) == (3, 0)
        assert await process.stop() == 0
