"""A full queue, through the real command: what devices are told meanwhile, that delivery goes on, and that nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from medagent.admin import call
from medagent.testing import bots
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import SERVER_ENVIRON, AgentProcess, server_arguments
from medagent.testing.resources import AGENT_ID, agent_resource, endpoint_resource

LIMIT = 5
LOW = 4
"""80 % of the limit."""
CHANNELS = {"enhanced": "?enhanced=true&appLevelAck=NE", "aa": "?enhanced=aa", "original": ""}


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5.1\rPID|1||4711\r".encode()


def outcome(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2."""
    msa = answer.split(b"\rMSA|")[1].split(b"\r")[0].split(b"|")
    return msa[0].decode(), msa[1].decode()


class Server:
    """A FHIR server whose bot answers as many messages as the test lets it."""

    def __init__(self, settings: dict[str, Any]) -> None:  # values of settings
        endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in CHANNELS.items()]
        resource = agent_resource({name: name for name in CHANNELS}, settings)
        self.allowed = asyncio.Semaphore(0)
        self.fhir = FhirServer(resource, endpoints, bot=self._serve)

    async def _serve(self, request: bots.BotRequest) -> bots.BotResult:
        await self.allowed.acquire()
        return bots.acknowledge(request)

    def allow(self, count: int) -> None:
        for _ in range(count):
            self.allowed.release()

    @property
    def served(self) -> list[str]:
        """Control IDs by key, in order: a repeat of an attempt is no second effect."""
        return [body.split("|")[9] for body in {frame["callback"]: frame["body"] for frame in self.fhir.transmits}.values()]


@contextlib.asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Server]:
    server = Server({"queueMaxMessages": LIMIT, **settings})
    await server.fhir.start()
    try:
        yield server
    finally:
        server.allow(1000)
        await server.fhir.close()


@contextlib.asynccontextmanager
async def agent(server: Server, state_dir: Path) -> AsyncIterator[AgentProcess]:
    async with AgentProcess(*server_arguments(server.fhir.base_url, AGENT_ID, state_dir), environ=SERVER_ENVIRON) as process:
        await process.listening(*CHANNELS)
        yield process


async def ask(state_dir: Path, command: str) -> Any:  # decoded JSON
    return await asyncio.to_thread(call, state_dir, command)


async def fill(process: AgentProcess, count: int) -> None:
    """Queue messages `f0`, `f1` and so on in the enhanced channel, for which the device waits no longer."""
    async with await MllpClient.connect(*process.addresses["enhanced"]) as device:
        for number in range(count):
            await device.send(message(f"f{number}"))
            assert outcome(await device.receive()) == ("CA", f"f{number}")


@pytest.mark.parametrize(("channel", "refusal"), [("enhanced", "CE"), ("aa", "AE"), ("original", "AE")])
async def test_refusing_it_answers_each_message_until_it_has_drained(tmp_path: Path, channel: str, refusal: str) -> None:
    async with serving() as server, agent(server, tmp_path) as process:
        await fill(process, LIMIT)
        async with await MllpClient.connect(*process.addresses[channel]) as device:
            for number in range(3):
                await device.send(message(f"new{number}"))
                answer = await device.receive()
                assert outcome(answer) == (refusal, f"new{number}")
                assert b"queue is full" in answer
            status = await ask(tmp_path, "status")
            assert status["state"] == "degraded"
            assert [reason for reason in status["reasons"] if "queue is full" in reason] == [
                f"the queue is full: live messages: {LIMIT} (queueMaxMessages {LIMIT}); new messages are refused"
            ]
            assert (status["queue"]["refused"], status["queue"]["refused_full"]) == (3, 3)

            server.allow(LIMIT - LOW)  # delivery goes on while it is full
            await process.logged("takes messages again; 3 refused")
            await device.send(message("new0"))
            if channel == "original":  # which answers when the server has
                server.allow(LIMIT)
            assert outcome(await device.receive()) == ("CA" if channel == "enhanced" else "AA", "new0")
        server.allow(100)
        await process.drained(tmp_path)
        assert (await ask(tmp_path, "status"))["state"] == "ok"
        assert sorted(server.served) == ["f0", "f1", "f2", "f3", "f4", "new0"]
        # once, or twice if `new0` came before what the server has taken by then
        full = sum("the queue is full" in line for line in process.log)
        assert 1 <= full <= 2
        assert sum("takes messages again" in line for line in process.log) == full, "one word for each time"
        assert not any("messages are refused (" in line for line in process.log)
        assert await process.stop() == 0


async def test_a_resend_is_refused_while_it_is_full_and_known_afterwards(tmp_path: Path) -> None:
    async with serving() as server, agent(server, tmp_path) as process:
        await fill(process, LIMIT)
        async with await MllpClient.connect(*process.addresses["enhanced"]) as device:
            await device.send(message("f4"))
            assert outcome(await device.receive()) == ("CE", "f4")
            server.allow(1)
            await process.logged("takes messages again")
            await device.send(message("f4"))
            assert outcome(await device.receive()) == ("CA", "f4")
        server.allow(100)
        await process.drained(tmp_path)
        assert server.served == ["f0", "f1", "f2", "f3", "f4"]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_pausing_it_answers_nothing_and_then_everything_in_order(tmp_path: Path, channel: str) -> None:
    ids = [f"new{number}" for number in range(20)]
    code = "CA" if channel == "enhanced" else "AA"
    async with serving(queueFullBehavior="pause") as server, agent(server, tmp_path) as process:
        await fill(process, LIMIT)
        async with await MllpClient.connect(*process.addresses[channel]) as device:
            for control_id in ids:
                await device.send(message(control_id))
            with pytest.raises(TimeoutError):
                await device.receive(timeout=0.3)
            stats = await ask(tmp_path, "stats")
            assert (stats["depth"], stats["buffered"], stats["refused"]) == (LIMIT, 0, 0)
            assert any("queue is full" in reason for reason in (await ask(tmp_path, "status"))["reasons"])

            server.allow(1000)
            answers = [outcome(await device.receive()) for _ in ids]
            assert answers == [(code, control_id) for control_id in ids]
        await process.drained(tmp_path)
        assert server.served[:LIMIT] == [f"f{number}" for number in range(LIMIT)]
        assert server.served[LIMIT:] == ids
        assert await process.stop() == 0


@pytest.mark.parametrize("behavior", ["refuse", "pause"])
async def test_it_is_still_full_after_a_crash(tmp_path: Path, behavior: str) -> None:
    async with serving(queueFullBehavior=behavior) as server:
        async with agent(server, tmp_path) as process:
            await fill(process, LIMIT)
            await process.kill()
        async with agent(server, tmp_path) as process:
            await process.logged("the queue is full")
            async with await MllpClient.connect(*process.addresses["enhanced"]) as device:
                await device.send(message("new"))
                if behavior == "refuse":
                    assert outcome(await device.receive()) == ("CE", "new")
                else:
                    with pytest.raises(TimeoutError):
                        await device.receive(timeout=0.3)
                server.allow(100)
                await process.logged("takes messages again")
                if behavior == "refuse":
                    await device.send(message("new"))
                assert outcome(await device.receive()) == ("CA", "new")
            await process.drained(tmp_path)
            assert sorted(server.served) == ["f0", "f1", "f2", "f3", "f4", "new"]


async def test_a_message_that_is_too_old_fills_it(tmp_path: Path) -> None:
    async with serving(queueMaxMessages=0, queueMaxAgeSecs=1) as server, agent(server, tmp_path) as process:
        await fill(process, 1)
        await process.logged("the queue is full: age of the oldest live message")
        async with await MllpClient.connect(*process.addresses["aa"]) as device:
            await device.send(message("new"))
            assert outcome(await device.receive()) == ("AE", "new")
            server.allow(100)
            await process.logged("takes messages again")
            await device.send(message("new"))
            assert outcome(await device.receive()) == ("AA", "new")
