"""A certificate that ends soon is a reason in `medagent status`, and messages flow all the same."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

from medagent.admin import call
from medagent.testing.certificates import Authority
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
