"""`medagent queue backup`, with the agent at work and without it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from medagent.testing.command import run_command
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.testing.resources import agent_resource, endpoint_resource


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105||ADT^A01|{control_id}|P|2.5\rPID|1||4711\r".encode() + b"OBX|1\r" * 500


def configured(folder: Path) -> Path:
    """A file for `--agent`."""
    resources = (agent_resource({"adt": "adt"}), endpoint_resource("adt", "mllp://127.0.0.1:0?enhanced=true"))
    path = folder / "agent.json"
    entries = [{"resource": resource} for resource in resources]
    path.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    return path


async def keep_sending(address: tuple[str, int], acknowledged: list[str]) -> None:
    async with await MllpClient.connect(*address) as device:
        while True:
            name = f"M{len(acknowledged)}"
            await device.send(message(name))
            assert b"MSA|CA|" in await device.receive()
            acknowledged.append(name)


async def test_a_backup_under_load(tmp_path: Path) -> None:
    agent = configured(tmp_path)
    state, copy = tmp_path / "state", tmp_path / "copy.db"
    acknowledged: list[str] = []
    async with AgentProcess("--agent", str(agent), "--state-dir", str(state)) as process:
        await process.listening("adt")
        sender = asyncio.ensure_future(keep_sending(process.addresses["adt"], acknowledged))
        try:
            while len(acknowledged) < 50:
                await asyncio.sleep(0.01)
            before = len(acknowledged)
            done = await run_command("queue", "backup", str(copy), "--state-dir", str(state), "--format", "json")
        finally:
            sender.cancel()
        assert done.exit_code == 0, done.stderr
        assert len(acknowledged) > before, "messages went on being stored"
        assert await process.stop() == 0
    found = [row.control_id for row in read_messages(copy)]
    assert found == acknowledged[: len(found)]
    assert len(found) >= before
    assert json.loads(done.stdout)["messages"] == len(found)
    assert counters_agree(copy)
    # the agent is gone: the same command
    again = await run_command("queue", "backup", str(tmp_path / "again.db"), "--state-dir", str(state))
    assert again.exit_code == 0, again.stderr
    assert "live" in again.stdout
    assert len(read_messages(tmp_path / "again.db")) >= len(acknowledged)
    refused = await run_command("queue", "backup", str(copy), "--state-dir", str(state))
    assert refused.exit_code == 1
    assert "there already" in refused.stderr


async def test_a_restored_backup_runs(tmp_path: Path) -> None:
    agent = configured(tmp_path)
    state = tmp_path / "state"
    async with AgentProcess("--agent", str(agent), "--state-dir", str(state)) as process:
        await process.listening("adt")
        async with await MllpClient.connect(*process.addresses["adt"]) as device:
            for name in ("A", "B"):
                await device.send(message(name))
                await device.receive()
                if name == "A":
                    await run_command("queue", "backup", str(tmp_path / "copy.db"), "--state-dir", str(state))
        await process.stop()
    (tmp_path / "copy.db").rename(state / "queue.db")
    async with AgentProcess("--agent", str(agent), "--state-dir", str(state)) as process:
        await process.listening("adt")
        status = (await run_command("status", "--state-dir", str(state), "--format", "json")).json
        assert any("missing from the queue: seq 2..2" in reason for reason in status["reasons"]), status
        assert status["queue"]["depth"] == 1
        await process.stop()


async def test_without_a_queue(tmp_path: Path) -> None:
    done = await run_command("queue", "backup", str(tmp_path / "copy.db"), "--state-dir", str(tmp_path))
    assert done.exit_code == 1
    assert "there is no queue" in done.stderr
