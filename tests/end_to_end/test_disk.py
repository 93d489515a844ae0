"""The real agent on a disk that fills up, that limits files, and whose queue is damaged while it is in use."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from medagent.admin import call
from medagent.testing import bots
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.queue_file import counters_agree, read_messages
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

CHANNELS = {"enhanced": "?enhanced=true&appLevelAck=NE", "original": "", "aa": "?enhanced=aa"}
RECOVERY_SECONDS = 5.0
"""How long after the disk has space again a message may still be refused."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB in memory. Mounting needs root, which CI is."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"cannot mount a tmpfs: {mounted.stderr.decode()}")
        pytest.skip("needs root, to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


class Site:
    """An agent, its server, and devices."""

    def __init__(self, fhir: FhirServer, process: AgentProcess, state_dir: Path) -> None:
        self.fhir = fhir
        self.process = process
        self.state_dir = state_dir
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self.seq = 0

    async def send(self, channel: str = "enhanced", size: int = 20_000) -> str:
        """One message; MSA-1 of the first answer."""
        self.seq += 1
        name = f"M{self.seq}"
        body = f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105||ADT^A01|{name}|P|2.5\rOBX|1|ST|||{'x' * size}\r".encode()
        async with await MllpClient.connect(*self.process.addresses[channel]) as device:
            await device.send(body)
            answer = await device.receive()
        code = answer.split(b"\rMSA|")[1][:2].decode()
        assert answer.split(b"\rMSA|")[1].split(b"|")[1].split(b"\r")[0].decode() == name
        (self.acknowledged if code in ("CA", "AA") else self.refused).append(name)
        return code

    async def until(self, code: str, channel: str = "enhanced", size: int = 20_000) -> int:
        """Send until one is answered so; how many it took."""
        for count in range(1, 2000):
            if await self.send(channel, size) == code:
                return count
        raise AssertionError(f"never {code}")

    async def status(self) -> dict:
        return await asyncio.to_thread(call, self.state_dir, "status")

    @property
    def served(self) -> set[str]:
        return {frame["body"].split("|")[9] for frame in self.fhir.transmits}


@contextlib.asynccontextmanager
async def at_work(state_dir: Path, bot=bots.acknowledge) -> AsyncIterator[Site]:
    endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in CHANNELS.items()]
    agent = agent_resource({name: name for name in CHANNELS}, {"queueRetentionMaxMb": 1000})
    async with FhirServer(agent, endpoints, bot=bot) as fhir:
        arguments = server_arguments(fhir.base_url, AGENT_ID, state_dir)
        async with AgentProcess(*arguments, environ=SERVER_ENVIRON) as process:
            await process.listening(*CHANNELS)
            yield Site(fhir, process, state_dir)


async def recovered(site: Site) -> None:
    """Within five seconds a message is stored again. The limit is what is promised, not what is measured."""
    async with asyncio.timeout(RECOVERY_SECONDS + 10):
        while await site.send(size=10) != "CA":
            await asyncio.sleep(0.2)


async def calm(site: Site) -> None:
    """After some seconds without a failure the status says so."""
    async with asyncio.timeout(20):
        while (await site.status())["state"] != "ok":
            await asyncio.sleep(0.1)


async def test_a_full_disk(small_disk: Path) -> None:
    state_dir = small_disk / "state"
    waiting = asyncio.Event()

    async def bot(request: bots.BotRequest) -> bots.BotResult:
        await waiting.wait()
        return bots.acknowledge(request)

    async with at_work(state_dir, bot) as site:
        filler = small_disk / "filler"
        stored = await site.until("CE")
        assert stored > 20
        # the log gives up what it has taken, and then nothing is left
        while [await site.send() for _ in range(3)] != ["CE"] * 3:
            pass
        assert await site.send("original") == "AE"
        assert await site.send("aa") == "AE"
        status = await site.status()
        assert status["state"] == "degraded"
        assert "queue: the disk is full" in status["reasons"]
        # something else takes what the reserve has left, too
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while file.write(b"x" * 4096):
                file.flush()
        assert await site.send() == "CE"
        waiting.set()
        await site.fhir.wait_for(len(site.acknowledged))
        assert site.served == set(site.acknowledged), "the backlog is delivered, and nothing that was refused"
        filler.unlink()
        remount = ["mount", "-o", "remount,size=32m", str(small_disk)]
        await asyncio.to_thread(subprocess.run, remount, check=True)
        await recovered(site)
        await site.process.drained(state_dir)
        await calm(site)
        alarms = [line for line in site.process.log if "messages are refused until it is well" in line]
        assert len(alarms) == 1, "one alarm, not one a message"
        assert await site.process.stop() == 0
        rows = {row.control_id for row in read_messages(state_dir / "queue.db")}
        assert rows >= set(site.acknowledged)
        assert not rows & set(site.refused)
        assert counters_agree(state_dir / "queue.db")


async def test_a_start_on_a_full_disk(small_disk: Path) -> None:
    state_dir = small_disk / "state"
    async with at_work(state_dir) as site:
        assert await site.send() == "CA"
        await site.process.kill()
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as file:
        while file.write(b"x" * 4096):
            file.flush()
    async with at_work(state_dir) as site:
        assert await site.send() == "CE"
        (small_disk / "filler").unlink()
        await recovered(site)
        assert await site.process.stop() == 0


async def test_a_limit_of_file_size_that_comes_and_goes(tmp_path: Path) -> None:
    async with at_work(tmp_path) as site:
        assert await site.send() == "CA"
        unlimited = resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (200_000, unlimited[1]))
        await site.until("CE")
        await site.until("AE", "aa")
        assert (await site.status())["state"] == "degraded"
        resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, unlimited)
        await recovered(site)
        await site.fhir.wait_for(len(site.acknowledged))
        await calm(site)
        assert await site.process.stop() == 0
    rows = {row.control_id for row in read_messages(tmp_path / "queue.db")}
    assert rows >= set(site.acknowledged)
    assert site.served >= set(site.acknowledged)


async def test_damage_while_it_runs(tmp_path: Path) -> None:
    refusing = asyncio.Event()

    async def bot(request: bots.BotRequest) -> bots.BotResult:
        return bots.acknowledge(request) if refusing.is_set() else bots.Reply(503, "later")

    async with at_work(tmp_path, bot) as site:
        # more than SQLite keeps in memory
        for _ in range(120):
            assert await site.send(size=40_000) == "CA"
        # have it all in the file, and the log empty
        await asyncio.to_thread(call, tmp_path, "hold")
        await asyncio.to_thread(call, tmp_path, "release")
        path = tmp_path / "queue.db"
        pages = path.stat().st_size // 4096
        with path.open("r+b") as file:
            for page in range(6, pages, 7):
                file.seek(page * 4096)
                file.write(os.urandom(4096))
        refusing.set()
        await site.process.logged("the queue was damaged", timeout=60)
        # the listeners come back, on ports of their own since the Endpoints name none
        while sum("listens on" in line for line in site.process.log) < 2 * len(CHANNELS):
            await asyncio.sleep(0.05)
        reasons = (await site.status())["reasons"]
        assert any("the queue was damaged" in reason and "quarantine" in reason for reason in reasons), reasons
        assert await site.send() == "CA"
        assert await site.process.stop() == 0
    assert counters_agree(tmp_path / "queue.db")


async def test_damage_that_opening_does_not_touch(tmp_path: Path) -> None:
    # a page of message rows that the first reads of the work need
    async with at_work(tmp_path, lambda request: bots.Reply(503, "later")) as site:
        for _ in range(200):
            assert await site.send(size=100) == "CA"
        assert await site.process.stop() == 0
    path = tmp_path / "queue.db"
    data = path.read_bytes()
    page = data.index(b"-000000000064") // 4096  # the end of a callback stands in no other table
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(os.urandom(4096))
    async with at_work(tmp_path) as site:
        assert await site.send() == "CA"
        reasons = (await site.status())["reasons"]
        assert any("the queue was damaged" in reason for reason in reasons), reasons
        await site.fhir.wait_for(150)
        assert await site.process.stop() == 0
    assert counters_agree(path)
