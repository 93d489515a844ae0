"""What the load programs share: an agent of one enhanced HL7 channel as a child process."""

from __future__ import annotations

import contextlib
import json
import resource
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource

MESSAGE = b"MSH|^~\\&|LOAD|TEST|EHR|MAIN|20260105120000||ADT^A01^ADT_A01|%s|P|2.5.1\rPID|1||4711\r"


@contextlib.asynccontextmanager
async def agent_with_channel(max_connections: int) -> AsyncIterator[AgentProcess]:
    """Run an agent that accepts and keeps, without a server; its channel is called `load`."""
    with tempfile.TemporaryDirectory(prefix="medagent-load-") as folder:
        address = f"mllp://127.0.0.1:0?enhanced=true&maxConnections={max_connections}"
        resources = [agent_resource({"load": "load"}), endpoint_resource("load", address)]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": each} for each in resources]}
        path = Path(folder) / "agent.json"
        path.write_text(json.dumps(bundle))
        async with AgentProcess("--agent", str(path), "--state-dir", str(Path(folder) / "state")) as process:
            await process.listening("load")
            yield process
            await process.stop()


def raise_open_files(wanted: int) -> bool:
    """Raise this process's limit of open files, which its children inherit; False, and a word on it, if that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return True
    if hard != resource.RLIM_INFINITY and hard < wanted:
        print(f"{wanted} open files are needed, and only {hard} are allowed here: see `ulimit -Hn`")
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True


def percentile_ms(waits: list[float], percent: int) -> float:
    """Of seconds waited."""
    return round(sorted(waits)[min(len(waits) - 1, len(waits) * percent // 100)] * 1000, 2)
