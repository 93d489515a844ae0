"""What the load programs share: an agent of one enhanced HL7 channel as a child process, and figures of the process."""

from __future__ import annotations

import contextlib
import json
import os
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


def rss_mb(pid: int) -> float:
    """Memory of a process, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_rss_mb(pid: int) -> float:
    """The most memory that a process has had, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Of a process since its start, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
