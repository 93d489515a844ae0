"""HL7 packages of npm, against `medagent run` and medagent's own sender: `make interop` installs and runs them.

What these peers get wrong is tested too, so that a new version of theirs shows; docs/interop.md says what it means.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from medagent.testing.fhir_server import FhirServer
from medagent.testing.process import AgentProcess
from medagent_hl7.answers import AnswerTimeout
from medagent_hl7.client import Client, Remote
from medagent_hl7.message import msa
from medagent_hl7.pool import Pool

SCRIPTS = Path(__file__).parent / "node"
COUNT = 10

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (SCRIPTS / "node_modules").exists(),
    reason="needs node and the packages of tests/interop/node: `make interop`",
)


def message(control_id: str, text: str = "Zoë") -> str:
    return (
        f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105120000||ADT^A01^ADT_A01|{control_id}|P|2.5||||||UNICODE UTF-8\r"
        f"PID|1||4711^^^NORTH^MR||Muster^{text}||19700101|F"
    )


MESSAGES = [message(f"M{number}") for number in range(COUNT)]


async def run_client(script: str, *arguments: object, messages: list[str] = MESSAGES) -> list[object]:
    """What a client script prints."""
    process = await asyncio.create_subprocess_exec(
        "node", SCRIPTS / script, *map(str, arguments), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate(json.dumps(messages).encode())
    assert process.returncode == 0
    answers = json.loads(output)
    assert isinstance(answers, list)
    return answers


@contextlib.asynccontextmanager
async def running_server(script: str, *arguments: object) -> AsyncIterator[tuple[Remote, asyncio.StreamReader]]:
    """Where a server script listens, and its output: a line of JSON for each message it gets."""
    process = await asyncio.create_subprocess_exec(
        "node", SCRIPTS / script, *map(str, arguments), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield Remote("127.0.0.1", port), process.stdout
    finally:
        process.kill()
        await process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert isinstance(port, int)
    return port


def acknowledged(answer: object) -> object:
    """MSA-1 and MSA-2; an error as it is."""
    return msa(answer) if isinstance(answer, str) else answer


async def test_medplum_client_one_message_after_the_other(agent: AgentProcess, fhir: FhirServer) -> None:
    for channel in ("original", "aa"):
        answers = await run_client("medplum-client.mjs", agent.addresses[channel][1], "sequential", "first")
        assert [acknowledged(answer) for answer in answers] == [("AA", f"M{number}") for number in range(COUNT)]
    answers = await run_client("medplum-client.mjs", agent.addresses["enhanced"][1], "sequential", "first")
    for number, answer in enumerate(answers):
        # if it comes in one read with the AA to the message before, it loses the CA
        assert acknowledged(answer) == ("CA", f"M{number}") or "timed out" in str(answer)
    await fhir.wait_for(3 * COUNT)
    assert sorted(frame["body"] for frame in fhir.transmits) == sorted(3 * MESSAGES)


async def test_medplum_client_waits_for_the_application_acknowledgment(agent: AgentProcess) -> None:
    port = agent.addresses["enhanced"][1]
    answers = await run_client("medplum-client.mjs", port, "sequential", "application", messages=MESSAGES[:3])
    for number, answer in enumerate(answers):
        # if CA and AA come in one read, it takes them for one message, which is a CA to it
        assert acknowledged(answer) == ("AA", f"M{number}") or "timed out" in str(answer)


async def test_medplum_client_many_messages_at_once(agent: AgentProcess, fhir: FhirServer) -> None:
    answers = await run_client("medplum-client.mjs", agent.addresses["enhanced"][1], "together", "first")
    # it takes the acknowledgments of one read for one message, and so loses all of them but the first
    for number, answer in enumerate(answers):
        assert acknowledged(answer) in (("CA", f"M{number}"), ("AA", f"M{number}")) or "timed out" in str(answer)
    await fhir.wait_for(COUNT)
    assert [frame["body"] for frame in fhir.transmits] == MESSAGES


async def test_node_hl7_client(agent: AgentProcess, fhir: FhirServer) -> None:
    modes = {"original": ["AA"], "enhanced": ["CA", "AA"], "aa": ["AA"]}
    for channel, codes in modes.items():
        answers = await run_client("node-hl7-client.mjs", agent.addresses[channel][1], messages=MESSAGES[:2])
        expected = [[(code, f"M{number}") for code in codes] for number in range(2)]
        assert [[msa(answer) for answer in each] for each in answers] == expected
    await fhir.wait_for(2 * len(modes))
    assert [frame["body"] for frame in fhir.transmits] == MESSAGES[:2] * len(modes)


@pytest.mark.parametrize(("mode", "codes"), [("original", ["AA"]), ("enhanced", ["CA", "AA"])])
async def test_medplum_server(mode: str, codes: list[str]) -> None:
    async with running_server("medplum-server.mjs", mode) as (remote, output):
        pool = Pool(remote)
        for body in MESSAGES:
            assert [answer.code for answer in await pool.send(body.encode())] == codes
            assert json.loads(await output.readline()) == body
        together = await asyncio.gather(*(pool.send(message(f"T{number}").encode()) for number in range(COUNT)))
        assert [[answer.code for answer in answers] for answers in together] == [codes] * COUNT
        await pool.close()


async def test_medplum_server_many_messages_on_one_connection() -> None:
    async with running_server("medplum-server.mjs", "original") as (remote, _), await Client.connect(remote) as client:
        sending = [client.send(body.encode(), timeout=2) for body in MESSAGES]
        # it takes the frames of one read for one message, so a sender may have but one on its way
        for answers in await asyncio.gather(*sending, return_exceptions=True):
            assert isinstance(answers, AnswerTimeout) or (isinstance(answers, list) and len(answers) == 1)


async def test_node_hl7_server_on_a_connection_for_each_message() -> None:
    async with running_server("node-hl7-server.mjs", free_port()) as (remote, output):
        for body in MESSAGES:
            async with await Client.connect(remote) as client:
                assert [answer.code for answer in await client.send(body.encode())] == ["AA"]
                assert client.unmatched == 0
            assert json.loads(await output.readline()) == body


async def test_node_hl7_server_handles_earlier_messages_of_a_connection_again() -> None:
    async with running_server("node-hl7-server.mjs", free_port()) as (remote, output):
        async with await Client.connect(remote) as client:
            for body in MESSAGES[:3]:
                # each gets its own answer, whatever else comes
                assert [answer.code for answer in await client.send(body.encode())] == ["AA"]
            assert client.unmatched == 3
        received = [json.loads(await output.readline()).split("|")[9] for _ in range(6)]
        assert received == ["M0", "M0", "M1", "M0", "M1", "M2"]
