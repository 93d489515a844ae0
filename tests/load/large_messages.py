"""Measure small messages alone and beside messages of 5 MB on another channel: the large may not make the small wait.

The large ones, an ORU^R01 each with a document in Base64 in OBX-5, come over some connections, on each the next as soon as the
one before has both acknowledgments. Server, agent and the large messages' senders have processes of their own. Run with
`make large-messages`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from agent import MESSAGE, percentile_ms

from medagent.testing.bots import BotRequest
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource
from medagent.testing.usage import cpu_seconds, peak_rss_mb, rss_mb

CHANNELS = ("small", "large")
LARGE = (
    b"MSH|^~\\&|LOAD|TEST|EHR|MAIN|20260105120000||ORU^R01^ORU_R01|%s|P|2.5.1\rPID|1||4711\r"
    b"OBX|1|ED|11502-2^Report^LN||^application^pdf^Base64^%s||||||F\r"
)
FRAME_BYTES = 64 * 1024 * 1024
"""What server and agent take at most."""
BUFFERED_BYTES = 1024 * 1024 * 1024
"""Of unfinished frames: more than all connections together send at once."""
HEAD = 200
"""Characters of a message that the server looks at."""
TIMEOUT = 30.0
"""Seconds that an acknowledgment may take at most."""

Waits = dict[str, list[float]]
"""Seconds waited, by acknowledgment code."""


def answer(request: BotRequest) -> str:
    """What the server answers, made of the head: what a long message costs there is not measured here."""
    control_id = request.body[:HEAD].split("|", 10)[9]
    return f"MSH|^~\\&|EHR|MAIN|LOAD|TEST|20260105120000||ACK|{control_id}|P|2.5.1\rMSA|AA|{control_id}\r"


async def serve() -> None:
    """Be the FHIR server until standard input ends; says where it is."""
    address = f"mllp://127.0.0.1:0?enhanced=true&maxBufferedBytes={BUFFERED_BYTES}"
    endpoints = [endpoint_resource(name, address) for name in CHANNELS]
    agent = agent_resource({name: name for name in CHANNELS}, {"maxFrameBytes": FRAME_BYTES})
    server = FhirServer(agent, endpoints, bot=answer, keep_journal=False, max_message_bytes=FRAME_BYTES)
    async with server:
        print(server.base_url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def be_large(host: str, port: int, connections: int, size: int) -> None:
    """Send large messages until standard input ends; says `ready` when the first is answered, and then how many were."""
    document = base64.b64encode(os.urandom(size // 4 * 3))
    done = 0
    stopped = asyncio.Event()

    async def send(number: int) -> None:
        nonlocal done
        count = 0
        async with await MllpClient.connect(host, port) as client:
            while not stopped.is_set():
                control_id = b"L%d-%d-%d" % (os.getpid(), number, count)
                await client.send(LARGE % (control_id, document))
                for code in (b"CA", b"AA"):
                    assert b"MSA|%s|%s" % (code, control_id) in await client.receive(TIMEOUT)
                count += 1
                done += 1
                if done == 1:
                    print("ready", flush=True)

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(send(number))
        # readable at its end too; a thread that waits for that would outlive a failure
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stopped.set)
    print(done, flush=True)


@contextlib.asynccontextmanager
async def role(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """This program in another process and another part; yields it with the first line it says, and ends it afterwards."""
    command = (sys.executable, __file__, *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Small:
    """Sends small messages at a steady rate over one connection, whatever the answers do."""

    def __init__(self) -> None:
        self._count = 0

    async def run(self, address: tuple[str, int], rate: float, seconds: float) -> Waits:
        """How long each acknowledgment took from when its message was due."""
        due: dict[bytes, float] = {}
        waits: Waits = {"CA": [], "AA": []}
        count = round(rate * seconds)
        async with await MllpClient.connect(*address) as client, asyncio.TaskGroup() as group:
            group.create_task(self._receive(client, due, waits, count))
            begin = time.monotonic()
            for number in range(count):
                at = begin + number / rate
                await asyncio.sleep(at - time.monotonic())
                self._count += 1
                control_id = b"S%d" % self._count
                due[control_id] = at
                await client.send(MESSAGE % control_id)
        return waits

    async def _receive(self, client: MllpClient, due: dict[bytes, float], waits: Waits, count: int) -> None:
        for _ in range(2 * count):
            frame = await client.receive(TIMEOUT)
            code, control_id, *_ = frame.partition(b"\rMSA|")[2].partition(b"\r")[0].split(b"|")
            waits[code.decode()].append(time.monotonic() - due[control_id])


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Figures by name. Alone and beside take turns, so that a change of the machine's mood meets both."""
    alone: Waits = {"CA": [], "AA": []}
    beside: Waits = {"CA": [], "AA": []}
    small = Small()
    large = 0
    lasted = 0.0
    cpu = 0.0
    with tempfile.TemporaryDirectory(prefix="medagent-large-") as folder:
        async with role("--serve") as (_, url):
            arguments = server_arguments(url, AGENT_ID, Path(folder) / "state")
            async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as agent:
                await agent.listening(*CHANNELS)
                await agent.logged("connected to")
                host, port = agent.addresses["large"]
                idle = rss_mb(agent.pid)
                for _ in range(options.rounds):
                    _add(alone, await small.run(agent.addresses["small"], options.rate, options.seconds))
                    sizes = ("--connections", str(options.connections), "--size", str(options.size))
                    async with role("--be-large", f"{host}:{port}", *sizes) as (process, ready):
                        assert ready == "ready"
                        begin, before = time.monotonic(), cpu_seconds(agent.pid)
                        _add(beside, await small.run(agent.addresses["small"], options.rate, options.seconds))
                        out, _ = await process.communicate(b"")
                        large += int(out)
                        lasted += time.monotonic() - begin
                        cpu += cpu_seconds(agent.pid) - before
                peak = peak_rss_mb(agent.pid)
                await agent.stop()
    figures = {"messages_alone": len(alone["AA"]), "messages_beside": len(beside["AA"]), "messages_large": large}
    for name, waits in (("alone", alone), ("beside", beside)):
        for code, word in (("CA", "commit"), ("AA", "application")):
            for percent in (50, 99):
                figures[f"{word}_p{percent}_ms_{name}"] = percentile_ms(waits[code], percent)
            figures[f"{word}_max_ms_{name}"] = percentile_ms(waits[code], 100)
    return figures | {
        "large_mb_per_second": round(large * options.size / lasted / 1e6, 1),
        "cpu_ms_a_large": round(cpu / max(large, 1) * 1000, 1),
        "rss_mb_idle": round(idle, 1),
        "rss_mb_grown_at_most": round(peak - idle, 1),
    }


def _add(waits: Waits, others: Waits) -> None:
    for code, some in others.items():
        waits[code] += some


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="small messages a second (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=3, help="that send large messages (default: %(default)s)")
    parser.add_argument("--size", type=int, default=5_000_000, help="of the document in Base64, bytes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often alone and beside take turns (default: %(default)s)")
    parser.add_argument("--limit-ms", type=float, default=50.0, help="fail if p99 beside is not below (default: %(default)s)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--be-large", metavar="HOST:PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return 0
    if options.be_large:
        host, _, port = options.be_large.rpartition(":")
        asyncio.run(be_large(host, int(port), options.connections, options.size))
        return 0
    figures = asyncio.run(measure(options))
    print(json.dumps(figures))
    slow = [name for name in ("commit_p99_ms_beside", "application_p99_ms_beside") if figures[name] >= options.limit_ms]
    for name in slow:
        print(f"{name} is {figures[name]:g}, and must be below --limit-ms, {options.limit_ms:g}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
