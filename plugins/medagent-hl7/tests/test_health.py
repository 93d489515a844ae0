"""What `medagent status` says of channels: certificates, parameters that bar a channel, notices about devices."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from medagent.admin import call
from medagent.testing.certificates import Authority
from medagent.testing.command import run_command
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource

MESSAGE = b"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|1|P|2.5\r"


async def test_certificate_that_ends_soon(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("agent", days=5.5)
    address = f"mllps://127.0.0.1:0?enhanced=true&certFile={quote(str(certificate))}&keyFile={quote(str(key))}"
    resources = [agent_resource({"lab": "lab"}), endpoint_resource("lab", address)]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in resources]}
    file = tmp_path / "agent.json"
    file.write_text(json.dumps(bundle))
    state = tmp_path / "state"
    async with AgentProcess("--agent", str(file), "--state-dir", str(state)) as process:
        await process.listening("lab")
        async with await MllpClient.connect(*process.addresses["lab"], tls=authority.client_context()) as device:
            await device.send(MESSAGE)
            assert b"MSA|CA|1" in await device.receive()
        await process.logged("channel lab: the certificate expires on")
        status = await asyncio.to_thread(call, state, "status")
        assert [reason for reason in status["reasons"] if "in 5 days" in reason and reason.startswith("channel lab: ")]
        # the next one is good, and nothing is left to say
        authority.issue("agent")
        async with asyncio.timeout(20):
            while any("certificate" in reason for reason in status["reasons"]):
                await asyncio.sleep(0.1)
                status = await asyncio.to_thread(call, state, "status")
        assert await process.stop() == 0


@contextlib.asynccontextmanager
async def agent_with(tmp_path: Path, **addresses: str) -> AsyncIterator[tuple[AgentProcess, Path]]:
    """An agent with these channels, and its state folder."""
    resources = [agent_resource({name: name for name in addresses})]
    resources += [endpoint_resource(name, address) for name, address in addresses.items()]
    file = tmp_path / "agent.json"
    file.write_text(
        json.dumps({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in resources]})
    )
    async with AgentProcess("--agent", str(file), "--state-dir", str(tmp_path / "state")) as process:
        yield process, tmp_path / "state"


async def reasons(state: Path) -> list[str]:
    """Those of the status, but for the missing server."""
    status = await asyncio.to_thread(call, state, "status")
    return [reason for reason in status["reasons"] + status["problems"] if not reason.startswith("uplink")]


async def test_files_that_come_later_leave_no_fault_behind(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("agent")
    content = certificate.read_bytes()
    certificate.unlink()
    address = f"mllps://127.0.0.1:0?certFile={quote(str(certificate))}&keyFile={quote(str(key))}"
    async with agent_with(tmp_path, lab=address) as (process, state):
        await process.logged("channel lab cannot listen")
        [reason] = await reasons(state)
        assert reason.startswith("channel lab waiting: ")
        assert "No such file" in reason
        certificate.write_bytes(content)
        await process.listening("lab")
        assert await reasons(state) == []


async def test_a_mistake_in_who_may_connect_opens_no_channel(tmp_path: Path) -> None:
    bad = "mllp://127.0.0.1:0?alow=10.1.0.0/16"
    async with agent_with(tmp_path, bad=bad, good="mllp://127.0.0.1:0?enhanced=true") as (process, state):
        await process.listening("good")
        await process.logged("channel bad does not listen: alow: unknown parameter; did you mean allow?")
        status = await asyncio.to_thread(call, state, "status")
        assert {each["name"]: each["state"] for each in status["channels"]} == {"bad": "waiting", "good": "listening"}
        assert any("it would let everybody in" in reason for reason in status["reasons"])


async def test_refusals_of_the_channel_are_counted(tmp_path: Path) -> None:
    async with agent_with(tmp_path, lab="mllp://127.0.0.1:0?enhanced=true&allowSender=PACS") as (process, state):
        await process.listening("lab")
        async with await MllpClient.connect(*process.addresses["lab"]) as device:
            await device.send(MESSAGE)
            assert b"MSA|CR|1" in await device.receive()
        for command, path in (("status", ["channels", 0]), (("queue", "stats"), ["channels", "lab"])):
            words = [command] if isinstance(command, str) else [*command]
            as_json = await run_command(*words, "--state-dir", str(state), "--format", "json")
            found = as_json.json
            for step in path:
                found = found[step]  # type: ignore[index]  # decoded JSON
            assert found["notices"] == {"sender not allowed": 1}
        as_text = await run_command("status", "--state-dir", str(state))
        assert "Noted about devices" in as_text.stdout
        assert "sender not allowed" in as_text.stdout
