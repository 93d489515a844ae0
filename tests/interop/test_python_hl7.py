"""The MLLP client and server of the PyPI package `hl7`, against `medagent run` and medagent's own sender."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import hl7
import pytest
from hl7.mllp import HL7StreamReader, HL7StreamWriter, open_hl7_connection, start_hl7_server

from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import AgentProcess
from medagent_hl7.answers import Expect
from medagent_hl7.client import Client, Remote
from medagent_hl7.pool import Pool

COUNT = 20
MODES = {"original": ["AA"], "enhanced": ["CA", "AA"], "aa": ["AA"]}
"""By channel: what each message is answered."""


def message(control_id: str, text: str = "Zoë") -> hl7.Message:
    return hl7.parse(
        f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5||||||UNICODE UTF-8\r"
        f"PID|1||4711^^^NORTH^MR||Muster^{text}||19700101|F\r"
    )


@contextlib.asynccontextmanager
async def connected(agent: AgentProcess, channel: str) -> AsyncIterator[tuple[HL7StreamReader, HL7StreamWriter]]:
    reader, writer = await open_hl7_connection(*agent.addresses[channel], encoding="utf-8")
    try:
        yield reader, writer
    finally:
        writer.close()
        await writer.wait_closed()


async def receive(reader: HL7StreamReader) -> tuple[str, str]:
    """MSA-1 and MSA-2 of the next acknowledgment, as the package reads them."""
    async with asyncio.timeout(20):
        found = await reader.readmessage()
    return str(found.segment("MSA")[1]), str(found.segment("MSA")[2])


async def test_its_client_sends_one_message_after_the_other(agent: AgentProcess, fhir: FhirServer) -> None:
    for channel, codes in MODES.items():
        async with connected(agent, channel) as (reader, writer):
            for number in range(COUNT):
                writer.writemessage(message(f"M{number}"))
                assert [await receive(reader) for _ in codes] == [(code, f"M{number}") for code in codes]
    await fhir.wait_for(len(MODES) * COUNT)
    assert [frame["body"] for frame in fhir.transmits] == [str(message(f"M{number}")) for number in range(COUNT)] * len(MODES)


async def test_its_client_sends_many_messages_before_it_reads(agent: AgentProcess) -> None:
    for channel, codes in MODES.items():
        async with connected(agent, channel) as (reader, writer):
            for number in range(COUNT):
                writer.writemessage(message(f"M{number}"))
            answers = [await receive(reader) for _ in range(COUNT * len(codes))]
        expected = {code: [(code, f"M{number}") for number in range(COUNT)] for code in codes}
        assert sorted(answers) == sorted(found for each in expected.values() for found in each)
        # the server answers in any order; commit acknowledgments come in that of the messages
        assert [found for found in answers if found[0] == "CA"] == expected.get("CA", [])


async def test_its_client_reads_the_blocks_of_mllp_release_2(agent: AgentProcess) -> None:
    async with connected(agent, "release2") as (reader, writer):
        for number in range(COUNT):
            writer.writemessage(message(f"M{number}"))
            async with asyncio.timeout(20):
                assert await reader.readblock() == b"\x06"
            for code in ("CA", "AA"):
                assert await receive(reader) == (code, f"M{number}")
                writer.writeblock(b"\x06")


async def test_medagents_sender_in_mllp_release_2(agent: AgentProcess) -> None:
    async with await Client.connect(Remote(*agent.addresses["release2"], release=2)) as client:
        for number in range(COUNT):
            answers = await client.send(str(message(f"M{number}")).encode(), Expect.BOTH)
            assert [answer.code for answer in answers] == ["CA", "AA"]
        assert client.usable


@contextlib.asynccontextmanager
async def receiver(*codes: str) -> AsyncIterator[tuple[Remote, list[str]]]:
    """The package's server, which answers each message with these codes; where it is, and what it gets."""
    received: list[str] = []

    async def handle(reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                found = await reader.readmessage()
                received.append(str(found))
                for code in codes:
                    writer.writemessage(found.create_ack(code))
                await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await start_hl7_server(handle, "127.0.0.1", 0, encoding="utf-8")
    try:
        yield Remote("127.0.0.1", server.sockets[0].getsockname()[1]), received
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("codes", [["AA"], ["CA", "AA"], ["AE"]])
async def test_its_server_answers_medagents_sender(codes: list[str]) -> None:
    bodies = [str(message(f"M{number}")) for number in range(COUNT)]
    async with receiver(*codes) as (remote, received):
        pool = Pool(remote)
        for body in bodies:
            answers = await pool.send(body.encode())
            assert [answer.code for answer in answers] == codes
        assert received == bodies
        assert pool.connections == 1
        together = await asyncio.gather(*(pool.send(str(message(f"T{number}")).encode()) for number in range(COUNT)))
        assert [[answer.code for answer in answers] for answers in together] == [codes] * COUNT
        await pool.close()
