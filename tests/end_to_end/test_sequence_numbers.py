"""Sequence numbers through the real command: MSH-13 verified and assigned, over crashes, and released by an operator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.admin import call
from medagent.testing.command import Finished, run_command
from medagent.testing.fhir_server import FhirServer
from medagent.testing.mllp import MllpClient
from medagent.testing.process import AgentProcess
from medagent.testing.queue_file import read_messages
from medagent.testing.resources import agent_resource, endpoint_resource
from medagent.testing.restartable import RestartableAgent

CHANNELS = {
    "verified": "?enhanced=true&verifySeqNo=true&appLevelAck=NE",
    "original": "?verifySeqNo=true",
    "assigned": "?enhanced=true&assignSeqNo=true&appLevelAck=NE",
    "both": "?enhanced=true&verifySeqNo=true&assignSeqNo=true&appLevelAck=NE",
}


def message(control_id: str, number: str, sender: str = "LAB", segments: str = "PID|1||4711\r") -> bytes:
    return f"MSH|^~\\&|{sender}|HOSP|EHR|HOSP|20260105120000||ADT^A01|{control_id}|P|2.5.1|{number}\r{segments}".encode()


def told(answer: bytes) -> tuple[str, str, str]:
    """MSA-1, MSA-2 and MSA-4."""
    fields = (answer.split(b"\rMSA|")[1].split(b"\r")[0] + b"|||").split(b"|")
    return fields[0].decode(), fields[1].decode(), fields[3].decode()


class World(RestartableAgent):
    async def resync(self, *arguments: str) -> Finished:
        return await run_command("channel", "resync", *arguments, "--state-dir", str(self.state_dir))

    async def reasons(self) -> list[str]:
        status = await asyncio.to_thread(call, self.state_dir, "status")
        return [reason for reason in status["reasons"] if "frozen" in reason]

    @property
    def served(self) -> list[tuple[str, str]]:
        """Control ID and MSH-13 of what the server got, in order; a repeat under the same key is no second effect."""
        by_key = {frame["callback"]: frame["body"] for frame in self.fhir.transmits}
        fields = [body.split("\r")[0].split("|") for body in by_key.values()]
        return [(each[9], each[12]) for each in fields]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    endpoints = [endpoint_resource(name, f"mllp://127.0.0.1:0{query}") for name, query in CHANNELS.items()]
    async with FhirServer(agent_resource({name: name for name in CHANNELS}), endpoints) as fhir:
        yield World(fhir, tmp_path, CHANNELS)


async def exchange(process: AgentProcess, channel: str, *bodies: bytes) -> list[tuple[str, str, str]]:
    """Send all in one write over a connection of its own; an answer for each."""
    async with await MllpClient.connect(*process.addresses[channel]) as device:
        await device.send(*bodies)
        return [told(await device.receive()) for _ in bodies]


async def test_a_gap_freezes_the_link_until_the_sender_starts_it_again(world: World) -> None:
    async with world.agent() as process:
        assert await exchange(process, "verified", message("A", "5"), message("B", "6")) == [("CA", "A", ""), ("CA", "B", "")]
        answers = await exchange(process, "verified", message("C", "8"), message("D", "7"))
        assert answers == [("CR", "C", "7"), ("CR", "D", "7")]
        assert len(await world.reasons()) == 1
        # another sender is another link, and one without numbers takes no part
        other = [message("E", "1", "PACS"), message("F", "")]
        assert await exchange(process, "verified", *other) == [("CA", "E", ""), ("CA", "F", "")]
        # 0 with no content: an answer with the expected number, and nothing for the server
        assert await exchange(process, "verified", message("G", "0", segments="")) == [("CA", "G", "7")]
        assert await world.reasons() == []
        assert await exchange(process, "verified", message("C", "7")) == [("CA", "C", "")]
        await process.drained(world.state_dir)
    assert [control_id for control_id, _ in world.served] == ["A", "B", "E", "F", "C"]


async def test_minus_one_takes_any_number_next(world: World) -> None:
    async with world.agent() as process:
        assert await exchange(process, "verified", message("A", "5")) == [("CA", "A", "")]
        assert await exchange(process, "verified", message("B", "9")) == [("CR", "B", "6")]
        assert await exchange(process, "verified", message("C", "-1", segments="")) == [("CA", "C", "-1")]
        assert await exchange(process, "verified", message("D", "100")) == [("CA", "D", "")]
        assert await exchange(process, "verified", message("E", "0")) == [("CA", "E", "101")], "content is accepted, too"
        await process.drained(world.state_dir)
    assert [control_id for control_id, _ in world.served] == ["A", "D", "E"]


async def test_original_mode_answers_what_only_asks_for_the_number(world: World) -> None:
    async with world.agent() as process:
        assert await exchange(process, "original", message("A", "0", segments="")) == [("AA", "A", "-1")]
        assert await exchange(process, "original", message("B", "3")) == [("AA", "B", "")]
        assert await exchange(process, "original", message("C", "5")) == [("AR", "C", "4")]


async def test_a_stored_message_again_is_a_retransmission(world: World) -> None:
    async with world.agent() as process:
        assert await exchange(process, "verified", message("A", "5"), message("A", "5")) == [("CA", "A", "")] * 2
        assert await exchange(process, "verified", message("A2", "6")) == [("CA", "A2", "")]
        assert await exchange(process, "verified", message("A", "5")) == [("CA", "A", "")]
        assert await exchange(process, "verified", message("B", "5")) == [("CR", "B", "7")], "another message is not"
        assert await exchange(process, "verified", message("A", "5")) == [("CA", "A", "")], "frozen or not"
        await process.drained(world.state_dir)
    assert [control_id for control_id, _ in world.served] == ["A", "A2"]


@pytest.mark.parametrize(
    ("seq", "next_number", "code"), [([], "77", "CA"), (["--seq", "9"], "9", "CA"), (["--seq", "9"], "6", "CR")]
)
async def test_an_operator_releases_a_frozen_link(world: World, seq: list[str], next_number: str, code: str) -> None:
    async with world.agent() as process:
        assert await exchange(process, "verified", message("A", "5"), message("B", "8")) == [("CA", "A", ""), ("CR", "B", "6")]
        [reason] = await world.reasons()
        assert "sequence number 6 is expected, and another came from 127.0.0.1" in reason
        key = reason.split("link ")[1].split()[0]
        wrong = await world.resync("verified", "--link", "0000000000000000")
        assert wrong.exit_code == 1
        assert "no link 0000000000000000" in wrong.stderr
        done = await world.resync("verified", *seq, "--link", key)
        assert done.exit_code == 0, done.stderr
        assert await world.reasons() == []
        await process.kill()
    async with world.agent() as process:
        [(answered, _, _)] = await exchange(process, "verified", message("C", next_number))
        assert answered == code, "the release is on disk"
        assert (await world.resync("verified")).exit_code == (1 if code == "CA" else 0)


@pytest.mark.parametrize(("failpoint", "stored"), [("before_commit", []), ("after_commit", ["A", "B", "C"])])
async def test_number_and_message_are_on_disk_together(world: World, failpoint: str, stored: list[str]) -> None:
    async with world.agent(f"{failpoint}:1") as process:
        async with await MllpClient.connect(*process.addresses["verified"]) as device:
            await device.send(message("A", "5"), message("B", "6"), message("C", "7"))
            assert await device.closed() == b""
        await process.wait()
    assert [row.control_id for row in read_messages(world.state_dir / "queue.db")] == stored
    async with world.agent() as process:
        resent = [message("A", "5"), message("B", "6"), message("C", "7")]
        answers = await exchange(process, "verified", *resent, message("D", "8"))
        assert {code for code, _, _ in answers} == {"CA"}
        await process.drained(world.state_dir)
    assert [control_id for control_id, _ in world.served] == ["A", "B", "C", "D"]


async def test_after_a_failure_of_the_queue_the_sender_goes_on_in_order(world: World) -> None:
    async with world.agent() as process:
        await exchange(process, "verified", message("A", "5"))
        queue, aside = world.state_dir / "queue.db", world.state_dir / "aside.db"
        queue.rename(aside)
        assert await exchange(process, "verified", message("B", "6")) == [("CE", "B", "")]
        aside.rename(queue)
        assert await exchange(process, "verified", message("C", "7")) == [("CE", "C", "")], "no gap: B is to come"
        assert await world.reasons() == []
        assert await exchange(process, "verified", message("B", "6"), message("C", "7")) == [("CA", "B", ""), ("CA", "C", "")]
        await process.drained(world.state_dir)
    assert [control_id for control_id, _ in world.served] == ["A", "B", "C"]


async def test_a_frozen_link_stays_so_over_a_crash(world: World) -> None:
    async with world.agent() as process:
        await exchange(process, "verified", message("A", "5"), message("B", "8"))
        await exchange(process, "verified", message("U", ""))  # behind the note of the frozen link
        await process.kill()
    async with world.agent() as process:
        assert len(await world.reasons()) == 1
        assert await exchange(process, "verified", message("C", "6")) == [("CR", "C", "6")]


async def test_assigned_numbers_have_no_gaps(world: World) -> None:
    async with world.agent() as process:
        await exchange(process, "assigned", message("A", "99"), message("B", ""), message("A", "99"))
        await process.drained(world.state_dir)
        await process.kill()
    async with world.agent("before_commit:1") as process:
        async with await MllpClient.connect(*process.addresses["assigned"]) as device:
            await device.send(message("C", ""))
            assert await device.closed() == b""
        await process.wait()
    async with world.agent() as process:
        await exchange(process, "assigned", message("D", ""), message("B", ""), message("E", ""))
        await process.drained(world.state_dir)
    assert world.served == [("A", "0"), ("B", "1"), ("D", "2"), ("E", "3")]


async def test_verified_and_assigned(world: World) -> None:
    async with world.agent() as process:
        answers = await exchange(process, "both", message("A", "41"), message("B", "42"), message("C", "44"))
        assert sorted(answers) == [("CA", "A", ""), ("CA", "B", ""), ("CR", "C", "43")]
        await process.drained(world.state_dir)
    assert world.served == [("A", "0"), ("B", "1")]
