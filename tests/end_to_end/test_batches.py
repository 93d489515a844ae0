"""Batches through the real command: stored together or not at all, and answered as a batch or one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.queue_file import read_messages
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent.testing.restartable import RestartableAgent

CHANNELS = {
    "message": "?enhanced=true",
    "batch": "?enhanced=true&batchAck=batch",
    "original": "?batchAck=batch",
    "counted": "?enhanced=true&batchCounts=reject",
    "unique": "?enhanced=true&appLevelAck=NE&duplicateBehavior=reject&batchAck=batch",
    "verified": "?enhanced=true&appLevelAck=NE&verifySeqNo=true&batchAck=batch",
}
BHS = b"BHS|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||||B77\r"


def message(control_id: str, text: str = "one", number: str = "") -> bytes:
    return (
        f"MSH|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5.1|{number}\r"
        f"PID|1||4711^^^HOSP^MR||Muster^{text}\r"
    ).encode()


def batch(*messages: bytes, count: int | str = "") -> bytes:
    return BHS + b"".join(messages) + f"BTS|{count}\r".encode()


def outcomes(frame: bytes) -> list[tuple[str, str]]:
    """MSA-1 and MSA-2 of every acknowledgment in a frame."""
    return [
        (segment.split(b"|")[1].decode(), segment.split(b"|")[2].decode())
        for segment in frame.split(b"\r")
        if segment.startswith(b"MSA")
    ]


class World(RestartableAgent):
    @property
    def served(self) -> list[str]:
        return [frame["body"].split("|")[9] for frame in self.fhir.transmits]

    @property
    def stored(self) -> list[str]:
        return [row.control_id for row in read_messages(self.state_dir / "queue.db")]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in CHANNELS.items()]
    async with FhirServer(agent_resource({name: name for name in CHANNELS}), endpoints) as fhir:
        yield World(fhir, tmp_path, CHANNELS)


async def exchange(process: AgentProcess, channel: str, body: bytes, frames: int) -> list[bytes]:
    async with await MllpClient.connect(*process.addresses[channel]) as device:
        await device.send(body)
        return [await device.receive() for _ in range(frames)]


ABC = [message(name) for name in "ABC"]


async def test_an_answer_for_each_message(world: World) -> None:
    async with world.agent() as process:
        frames = await exchange(process, "message", batch(*ABC, count=3), 6)
        assert [outcomes(frame) for frame in frames[:3]] == [[("CA", "A")], [("CA", "B")], [("CA", "C")]]
        assert sorted(outcomes(frame)[0] for frame in frames[3:]) == [("AA", "A"), ("AA", "B"), ("AA", "C")]
        await process.drained(world.state_dir)
    assert world.served == ["A", "B", "C"]
    assert [row.body for row in read_messages(world.state_dir / "queue.db")] == ABC, "each from its MSH on, as sent"


async def test_a_batch_of_answers(world: World) -> None:
    async with world.agent() as process:
        commit, application = await exchange(process, "batch", batch(*ABC, count=3), 2)
        assert outcomes(commit) == [("CA", "A"), ("CA", "B"), ("CA", "C")]
        assert outcomes(application) == [("AA", "A"), ("AA", "B"), ("AA", "C")], "in the order of the messages"
        header = commit.split(b"\r")[0].split(b"|")
        assert header[:6] == [b"BHS", b"^~\\&", b"EHR", b"HOSP", b"LAB", b"HOSP"], "sender and receiver swapped"
        assert header[11] == b"B77", "BHS-12 names the original"
        assert commit.split(b"\r")[-2] == b"BTS|3"
        assert header[10] != application.split(b"\r")[0].split(b"|")[10]
        await process.drained(world.state_dir)


async def test_a_file_of_batches_in_original_mode(world: World) -> None:
    body = b"FHS|^~\\&|LAB|HOSP|EHR|HOSP|20260105120000||||F5\r" + batch(*ABC[:2]) + batch(ABC[2]) + b"FTS|2\r"
    async with world.agent() as process:
        [frame] = await exchange(process, "original", body, 1)
        assert outcomes(frame) == [("AA", "A"), ("AA", "B"), ("AA", "C")]
        names = [segment[:3] for segment in frame.split(b"\r") if segment[:3] in (b"FHS", b"BHS", b"BTS", b"FTS")]
        assert names == [b"FHS", b"BHS", b"BTS", b"BHS", b"BTS", b"FTS"]
        assert frame.split(b"\r")[0].split(b"|")[11] == b"F5"


@pytest.mark.parametrize(("channel", "code", "stored"), [("message", "CA", ["A", "B", "C"]), ("counted", "CR", [])])
async def test_a_wrong_count(world: World, channel: str, code: str, stored: list[str]) -> None:
    async with world.agent() as process:
        frames = await exchange(process, channel, batch(*ABC, count=4), 3)
        assert [outcomes(frame) for frame in frames] == [[(code, name)] for name in "ABC"]
        assert await process.logged("BTS-1 is wrong: the batch has 3 messages")
        await process.stop()
    assert world.stored == stored
    assert sum("BTS-1 is wrong" in line for line in process.log) == 1
    if code == "CR":
        assert b"|207^" in frames[0]


@pytest.mark.parametrize("line_end", [b"\r", b"\n", b"\r\n"])
async def test_messages_without_headers_are_a_batch(world: World, line_end: bytes) -> None:
    # HL7 v2.5.1, chapter 2.10.3: BHS and FHS are optional
    body = b"".join(ABC).replace(b"\r", line_end)
    async with world.agent() as process:
        frames = await exchange(process, "message", body, 6)
        assert [outcomes(frame) for frame in frames[:3]] == [[("CA", "A")], [("CA", "B")], [("CA", "C")]]
        commit, application = await exchange(process, "batch", body, 2)
        assert outcomes(commit) == [("CA", "A"), ("CA", "B"), ("CA", "C")]
        assert outcomes(application) == [("AA", "A"), ("AA", "B"), ("AA", "C")]
        assert commit.startswith(b"MSH|"), "no header, as it came"
        await process.drained(world.state_dir)
    assert world.stored == ["A", "B", "C"] * 2, "a message each, once a channel"


async def test_one_bad_message_of_a_batch_without_headers_refuses_them_all(world: World) -> None:
    bad = message("B").replace(b"MSH|^~\\&|", b"MSH|A|")
    async with world.agent() as process:
        frames = await exchange(process, "message", ABC[0] + bad + ABC[2], 3)
        assert sorted(outcomes(frame)[0] for frame in frames) == [("CR", "A"), ("CR", "B"), ("CR", "C")]
        await process.stop()
    assert world.stored == []


async def test_one_bad_message_refuses_them_all(world: World) -> None:
    bad = message("B").replace(b"MSH|^~\\&|", b"MSH|A|")
    async with world.agent() as process:
        frames = await exchange(process, "message", batch(ABC[0], bad, ABC[2], count=3), 3)
        assert sorted(outcomes(frame)[0] for frame in frames) == [("CR", "A"), ("CR", "B"), ("CR", "C")]
        await process.stop()
    assert world.stored == []


async def test_a_queue_that_cannot_be_written_takes_none(world: World) -> None:
    async with world.agent() as process:
        queue, aside = world.state_dir / "queue.db", world.state_dir / "aside.db"
        queue.rename(aside)
        [frame] = await exchange(process, "batch", batch(*ABC), 1)
        assert outcomes(frame) == [("CE", "A"), ("CE", "B"), ("CE", "C")]
        aside.rename(queue)
        commit, _ = await exchange(process, "batch", batch(*ABC), 2)
        assert outcomes(commit) == [("CA", "A"), ("CA", "B"), ("CA", "C")]
        await process.drained(world.state_dir)
    assert world.served == ["A", "B", "C"]


@pytest.mark.parametrize(("failpoint", "stored"), [("before_commit:1", 0), ("after_commit:1", 250)])
async def test_a_crash_leaves_all_or_none(world: World, failpoint: str, stored: int) -> None:
    # more than batchSize, so more than one commit would hold of single messages
    body = batch(*(message(f"M{number}") for number in range(250)), count=250)
    async with world.agent(failpoint) as process:
        async with await MllpClient.connect(*process.addresses["message"]) as device:
            await device.send(body)
            assert await device.closed() == b""
        await process.wait()
    assert len(world.stored) == stored
    async with world.agent() as process:
        frames = await exchange(process, "message", body, 500)
        assert sum(outcomes(frame)[0][0] == "CA" for frame in frames) == 250
        await process.drained(world.state_dir)
    assert sorted(set(world.served)) == sorted(f"M{number}" for number in range(250))
    assert len({frame["callback"] for frame in world.fhir.transmits}) == 250, "sent twice only under one key"


async def test_the_same_batch_again_is_answered_and_not_stored_again(world: World) -> None:
    async with world.agent() as process:
        for _ in range(2):
            commit, application = await exchange(process, "batch", batch(*ABC), 2)
            assert outcomes(commit) == [("CA", "A"), ("CA", "B"), ("CA", "C")]
            assert outcomes(application) == [("AA", "A"), ("AA", "B"), ("AA", "C")]
            await process.drained(world.state_dir)
    assert world.stored == ["A", "B", "C"]


async def test_a_message_that_comes_twice_in_a_batch(world: World) -> None:
    async with world.agent() as process:
        commit, application = await exchange(process, "batch", batch(ABC[0], ABC[0], ABC[1]), 2)
        assert outcomes(commit) == [("CA", "A"), ("CA", "A"), ("CA", "B")]
        assert outcomes(application) == [("AA", "A"), ("AA", "A"), ("AA", "B")]
        await process.drained(world.state_dir)
    assert world.served == ["A", "B"]


async def test_a_used_control_id_is_refused_alone(world: World) -> None:
    # it says something against the one message: the others have been stored
    async with world.agent() as process:
        await exchange(process, "unique", batch(ABC[0]), 1)
        [frame] = await exchange(process, "unique", batch(message("A", "two"), ABC[1]), 1)
        assert outcomes(frame) == [("CR", "A"), ("CA", "B")]
        await process.drained(world.state_dir)
    assert world.served == ["A", "B"]


async def test_sequence_numbers_of_a_batch(world: World) -> None:
    one, two, three, five = (message(name, number=str(number)) for name, number in zip("ABCE", (1, 2, 3, 5), strict=True))
    async with world.agent() as process:
        await exchange(process, "verified", one, 1)
        [frame] = await exchange(process, "verified", batch(two, five), 1)
        assert outcomes(frame) == [("CR", "B"), ("CR", "E")]
        assert frame.split(b"\rMSA|CR|E|")[1].split(b"\r")[0].split(b"|")[1] == b"2", "none of the batch has counted"
        await exchange(process, "verified", message("Z", number="0"), 1)
        [frame] = await exchange(process, "verified", batch(two, three), 1)
        assert outcomes(frame) == [("CA", "B"), ("CA", "C")]
        await process.drained(world.state_dir)
    assert world.served == ["A", "Z", "B", "C"]


async def test_a_device_that_hangs_up_gets_its_answers_when_it_comes_again(world: World) -> None:
    async with world.agent() as process:
        async with await MllpClient.connect(*process.addresses["batch"]) as device:
            await device.send(batch(*ABC))
            assert outcomes(await device.receive()) == [("CA", "A"), ("CA", "B"), ("CA", "C")]
            device.abort()
        await world.fhir.wait_for(3)
        await process.drained(world.state_dir)
        _, application = await exchange(process, "batch", batch(*ABC), 2)
        assert outcomes(application) == [("AA", "A"), ("AA", "B"), ("AA", "C")]
        assert await process.stop() == 0
