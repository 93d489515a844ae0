"""A real agent is told to read its configuration again: by a signal, by a command, by a file that has changed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from medagent.testing.command import run_command
from medagent.testing.in_process import free_port
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.resources import Resource, agent_resource, endpoint_resource

MESSAGE = b"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|L1|P|2.5\rPID|1||4711\r"


def bundle(**addresses: str) -> Resource:
    resources = [agent_resource({name: name for name in addresses})]
    resources += [endpoint_resource(name, address) for name, address in addresses.items()]
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource} for resource in resources]}


def enhanced() -> str:
    return f"mllp://127.0.0.1:{free_port()}?enhanced=true"


async def test_by_a_signal_and_by_a_changed_file(tmp_path: Path) -> None:
    file, adt = tmp_path / "agent.json", enhanced()
    file.write_text(json.dumps(bundle(adt=adt)))
    async with AgentProcess("--agent", str(file), "--state-dir", str(tmp_path / "state")) as process:
        await process.listening("adt")
        async with await MllpClient.connect(*process.addresses["adt"]) as device:
            process.signal(signal.SIGHUP)
            await process.logged("reloaded: nothing has changed")
            file.write_text(json.dumps(bundle(adt=adt, lab=enhanced())))
            await process.logged("a file has changed: reloading the configuration")
            await process.logged("reloaded: lab: added")
            file.write_text("{")
            await process.logged("the new configuration changes nothing: the configuration cannot be loaded: ")
            await device.send(MESSAGE)
            assert b"MSA|CA|L1" in await device.receive()
        assert await process.stop() == 0


async def test_by_a_command_that_says_what_has_changed(tmp_path: Path) -> None:
    file, state, adt = tmp_path / "agent.json", str(tmp_path / "state"), enhanced()
    file.write_text(json.dumps(bundle(adt=adt)))
    async with AgentProcess("--agent", str(file), "--state-dir", state) as process:
        await process.listening("adt")
        file.write_text(json.dumps(bundle(adt=adt, lab=enhanced())))
        done = await run_command("reload", "--state-dir", state)
        assert (done.exit_code, done.stdout) == (0, "in force: lab: added\n")
        file.write_text(json.dumps(bundle(adt=adt, lab=enhanced() + "&apLevelAck=ER")))
        faulty = await run_command("reload", "--state-dir", state)
        assert faulty.exit_code == 0
        assert faulty.stdout.startswith("in force: lab: moved to port ")
        assert "! Endpoint/lab.address?apLevelAck: unknown parameter; did you mean appLevelAck?" in faulty.stderr
        file.write_text(json.dumps(bundle(adt=adt, lab="mllp://127.0.0.1:0x")))
        failed = await run_command("reload", "--state-dir", state, "--format", "json")
        assert failed.exit_code == 1
        assert failed.json["changes"] == ""
        assert "wanted is a number from 1 to 65535" in failed.json["problems"][0]
        status = await run_command("status", "--state-dir", state, "--format", "json")
        assert any("the new configuration is not in force" in reason for reason in status.json["reasons"])
        assert await process.stop() == 0
    assert (await run_command("reload", "--state-dir", state)).exit_code == 69
