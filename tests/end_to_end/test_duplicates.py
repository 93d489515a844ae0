"""A control ID that comes again, through the real command: what the device is told, and what the server gets.

The moments are those met in the field: in one read, in flight, after the answer, after a CE, after a restart, after the window.
The bytes are the same, or others.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.testing import bots
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent.testing.restartable import RestartableAgent

CHANNELS = {
    "idempotent": "?enhanced=true",
    "reject": "?enhanced=true&duplicateBehavior=Reject",
    "accept": "?enhanced=true&duplicateBehavior=accept",
    "original": "",
    "original-reject": "?duplicateBehavior=reject",
}
HOUR = 3600


def message(control_id: str, text: str = "one") -> bytes:
    return (
        f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5.1\r"
        f"PID|1||4711^^^HOSP^MR||Muster^{text}\r"
    ).encode()


def outcome(answer: bytes) -> tuple[str, str]:
    """MSA-1 and MSA-2."""
    msa = answer.split(b"\rMSA|")[1].split(b"\r")[0].split(b"|")
    return msa[0].decode(), msa[1].decode()


class World(RestartableAgent):
    def __init__(self, fhir: FhirServer, state_dir: Path) -> None:
        super().__init__(fhir, state_dir, CHANNELS)
        self.answer_now = asyncio.Event()
        self.answer_now.set()

    @contextlib.asynccontextmanager
    async def agent(self, failpoint: str = "") -> AsyncIterator[AgentProcess]:
        async with super().agent(failpoint) as process:
            yield process
            assert await process.stop() == 0

    async def bot(self, request: bots.BotRequest) -> bots.BotResult:
        await self.answer_now.wait()
        return bots.acknowledge(request)

    @property
    def served(self) -> list[str]:
        """What the server has got, as (control ID, text), by key: a repeat of an attempt is no second effect."""
        return [body.split("|")[9] + " " + body.split("^")[-1].strip() for body in self.by_key.values()]

    @property
    def by_key(self) -> dict[str, str]:
        return {frame["callback"]: frame["body"] for frame in self.fhir.transmits}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in CHANNELS.items()]
    async with FhirServer(agent_resource({name: name for name in CHANNELS}), endpoints) as fhir:
        made = World(fhir, tmp_path)
        fhir.bot = made.bot
        yield made
        made.answer_now.set()


async def exchange(process: AgentProcess, channel: str, *bodies: bytes, answers: int) -> list[tuple[str, str]]:
    """Send over a connection of its own; returns the answers, sorted."""
    async with await MllpClient.connect(*process.addresses[channel]) as device:
        await device.send(*bodies)
        return sorted([outcome(await device.receive()) for _ in range(answers)])


CA, AA, CR, AR = ("CA", "D1"), ("AA", "D1"), ("CR", "D1"), ("AR", "D1")


@pytest.mark.parametrize(
    ("channel", "text", "answers", "served"),
    [
        ("idempotent", "one", [AA, CA, CA], ["D1 one"]),
        ("idempotent", "two", [AA, AA, CA, CA], ["D1 one", "D1 two"]),
        ("reject", "one", [AA, CA, CA], ["D1 one"]),
        ("reject", "two", [AA, CA, CR], ["D1 one"]),
        ("accept", "one", [AA, AA, CA, CA], ["D1 one", "D1 one"]),
        ("original", "one", [AA], ["D1 one"]),
        ("original-reject", "two", [AA, AR], ["D1 one"]),
    ],
)
async def test_in_one_read(world: World, channel: str, text: str, answers: list[tuple[str, str]], served: list[str]) -> None:
    # the answer of the server comes when both have been committed: once for each message that it has
    world.answer_now.clear()
    async with world.agent() as process, await MllpClient.connect(*process.addresses[channel]) as device:
        await device.send(message("D1"), message("D1", text))
        early = [one for one in answers if one[0] != "AA"]
        got = [outcome(await device.receive()) for _ in early]
        await world.fhir.wait_for(len(served))
        world.answer_now.set()
        got += [outcome(await device.receive()) for _ in range(len(answers) - len(early))]
        assert sorted(got) == answers
        await process.drained(world.state_dir)
    assert sorted(world.served) == served


@pytest.mark.parametrize(
    ("channel", "text", "answers", "served"),
    [
        ("idempotent", "one", [AA, CA], ["D1 one"]),
        ("idempotent", "two", [AA, CA], ["D1 one", "D1 two"]),
        ("reject", "one", [AA, CA], ["D1 one"]),
        ("reject", "two", [CR], ["D1 one"]),
        ("accept", "one", [AA, CA], ["D1 one", "D1 one"]),
        ("original", "one", [AA], ["D1 one"]),
        ("original-reject", "two", [AR], ["D1 one"]),
    ],
)
@pytest.mark.parametrize("moment", ["in flight", "after the answer", "after a restart"])
async def test_later(
    world: World, moment: str, channel: str, text: str, answers: list[tuple[str, str]], served: list[str]
) -> None:
    first_answers = 1 if channel.startswith("original") else 2
    if moment == "in flight":
        world.answer_now.clear()
        async with world.agent() as process, await MllpClient.connect(*process.addresses[channel]) as first:
            await first.send(message("D1"))
            await world.fhir.wait_for(1)
            async with await MllpClient.connect(*process.addresses[channel]) as second:
                await second.send(message("D1", text))
                early = [one for one in answers if one[0] != "AA"]
                got = [outcome(await second.receive()) for _ in early]
                expected = answers
                if not early:
                    # nothing says that the copy is in: another message behind it does
                    await second.send(message("D2"))
                    await world.fhir.wait_for(2)
                    expected = sorted([*answers, ("AA", "D2")])
                world.answer_now.set()
                got += [outcome(await second.receive()) for _ in range(len(expected) - len(early))]
                assert sorted(got) == expected, "the newest connection gets the answer"
            await process.drained(world.state_dir)
        assert sorted(one for one in world.served if one.startswith("D1")) == served
        return
    async with contextlib.AsyncExitStack() as stack:
        process = await stack.enter_async_context(world.agent())
        assert AA in await exchange(process, channel, message("D1"), answers=first_answers)
        await process.drained(world.state_dir)
        if moment == "after a restart":
            await stack.aclose()
            process = await stack.enter_async_context(world.agent())
        assert await exchange(process, channel, message("D1", text), answers=len(answers)) == answers
        await process.drained(world.state_dir)
    assert sorted(world.served) == served


@pytest.mark.parametrize("channel", ["idempotent", "reject", "accept"])
@pytest.mark.parametrize("text", ["one", "two"])
async def test_after_a_ce(world: World, channel: str, text: str) -> None:
    # a folder in the place of the file: nothing can be committed until it is moved away
    async with world.agent() as process:
        queue, aside = world.state_dir / "queue.db", world.state_dir / "aside.db"
        queue.rename(aside)
        assert await exchange(process, channel, message("D1"), answers=1) == [("CE", "D1")]
        aside.rename(queue)
        assert await exchange(process, channel, message("D1", text), answers=2) == [AA, CA]
        await process.drained(world.state_dir)
    assert world.served == [f"D1 {text}"]


@pytest.mark.parametrize("channel", ["idempotent", "reject"])
@pytest.mark.parametrize("text", ["one", "two"])
async def test_after_the_window(world: World, channel: str, text: str) -> None:
    async with world.agent() as process:
        assert await exchange(process, channel, message("D1"), answers=2) == [AA, CA]
        await process.drained(world.state_dir)
    week_and_hour = 7 * 24 * HOUR + HOUR
    with contextlib.closing(sqlite3.connect(world.state_dir / "queue.db")) as queue, queue:
        queue.execute("UPDATE message SET accepted_at = ?", (time.time() - week_and_hour,))
    async with world.agent() as process:
        assert await exchange(process, channel, message("D1", text), answers=2) == [AA, CA]
        await process.drained(world.state_dir)
    assert sorted(world.served) == ["D1 one", f"D1 {text}"]


async def test_two_copies_in_one_batch(world: World) -> None:
    header = b"BHS|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||||B1\r"
    async with world.agent() as process:
        body = header + message("D1") + message("D1") + message("D1", "two") + b"BTS|3\r"
        assert await exchange(process, "idempotent", body, answers=5) == [AA, AA, CA, CA, CA]
        await process.drained(world.state_dir)
    assert sorted(world.served) == ["D1 one", "D1 two"]


async def test_a_rejected_copy_is_named_in_the_error(world: World) -> None:
    async with world.agent() as process, await MllpClient.connect(*process.addresses["reject"]) as device:
        await device.send(message("D1"))
        await device.receive()
        await device.receive()
        await device.send(message("D1", "two"))
        refused = await device.receive()
    assert b"\rMSA|CR|D1|The control ID is that of another message\r" in refused
    assert b"\rERR||MSH^1^10|205^Duplicate key identifier^HL70357|E|" in refused
    assert b"two" not in refused


async def test_two_senders_that_use_the_same_control_id(world: World) -> None:
    # each counts by itself, so the second one's is not used
    lab, pacs = message("D0001"), message("D0001").replace(b"|LAB|", b"|PACS|")
    north = message("D0001").replace(b"|LAB|HOSP|", b"|LAB|NORTH|")
    async with world.agent() as process:
        for body in (lab, pacs, north):
            assert await exchange(process, "reject", body, answers=2) == [("AA", "D0001"), ("CA", "D0001")]
        other = message("D0001", "two").replace(b"|LAB|", b"|PACS|")
        assert await exchange(process, "reject", other, answers=1) == [("CR", "D0001")]
    assert world.served == ["D0001 one"] * 3
