"""What a channel never answers: acknowledgments, however they are dressed, and batches without messages."""

from __future__ import annotations

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient
from medagent_hl7.message import msa
from medagent_hl7.server import Hl7Channel


def message(message_type: str, tail: str = "") -> bytes:
    return f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||{message_type}|2|P|2.5.1\r{tail}".encode()


def batch(*messages: bytes) -> bytes:
    return b"FHS|^~\\&|LAB\rBHS|^~\\&|LAB\r" + b"".join(messages) + b"BTS\rFTS\r"


CA = "MSA|CA|1\r"
AA = "MSA|AA|1\r"
COMMIT = message("ORR^O02", CA)
REFUSED = message("ADT^A01", "PID|1\r").replace(b"|2|P|", b"||P|")


@pytest.mark.parametrize("enhanced", ["aa", "true", "false"])
@pytest.mark.parametrize(
    "body",
    [
        COMMIT,
        b" " + COMMIT,
        b"\n" + COMMIT.lower(),
        COMMIT.decode().encode("utf-16-le"),
        f"\ufeff{COMMIT.decode()}".encode("utf-32-be"),
        message("ack"),
        message("ACK "),
        b" " + message("ACK"),
        message("", AA),
        message("", " msa|ae |1\r"),
        b"\t" + message("", AA),
        COMMIT + b"x" * 30_000,
        batch(),
        batch(COMMIT, message("ack", AA)),
        batch(b" " + COMMIT),
        b"FHS|^~\\&|LAB\r",
        b"BTS|0\r",
    ],
)
async def test_nothing_comes_back(body: bytes, enhanced: str) -> None:
    core = RecordingCore()
    parameters: dict[str, Value] = {"enhanced": enhanced, "missingControlId": "reject", "batchAck": "batch"}
    config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)
    async with (
        running(Hl7Channel(core.context(config, max_body_bytes=20_000))) as address,
        await MllpClient.connect(*address) as device,
    ):
        await device.send(body, REFUSED)
        assert msa(await device.receive()) == ("CR" if enhanced == "true" else "AE", "")
    assert core.messages == []


async def test_in_a_refused_batch_only_messages_are_answered() -> None:
    core = RecordingCore()
    config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"enhanced": "aa", "missingControlId": "reject"})
    async with running(Hl7Channel(core.context(config))) as address, await MllpClient.connect(*address) as device:
        await device.send(batch(COMMIT, REFUSED), message("ADT^A01").replace(b"|2|P|", b"|last|P|"))
        assert msa(await device.receive()) == ("AE", "")
        assert [each.control_id for each in await core.accepted(1)] == ["last"]


async def test_a_response_is_a_message() -> None:
    core = RecordingCore()
    config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"enhanced": "aa"})
    bodies = [message("ORR^O02", AA), message("", "PID|1\rMSA|AA|1\r"), message("ADT^A01", "NTE|1||MSA|CA|1\r")]
    async with running(Hl7Channel(core.context(config))) as address, await MllpClient.connect(*address) as device:
        await device.send(*bodies)
        assert [each.body for each in await core.accepted(3)] == bodies


async def test_the_answer_of_one_listener_is_no_question_to_another() -> None:
    core = RecordingCore()
    parameters: dict[str, Value] = {"enhanced": "true", "batchAck": "batch"}
    channel = Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(batch(message("ADT^A01")))
        [accepted] = await core.accepted(1)
        channel.committed(accepted.parts)
        answer = await device.receive()
        assert answer.startswith(b"FHS|")
        await device.send(answer, message("ADT^A01"))
        channel.committed((await core.accepted(2))[1:])
        assert msa(await device.receive()) == ("CA", "2")
