"""Answers that nobody foresaw: each is answered by itself."""

from __future__ import annotations

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient
from medagent.types import Answer, Delivery
from medagent_hl7.message import Header, msa
from medagent_hl7.replies import Replies
from medagent_hl7.server import Hl7Channel

MESSAGE = "MSH|^~\\&|LAB||EHR||20260105||ADT^A01|%s|P|2.5.1\rPID|1\r"


def acknowledgment(control_id: str) -> str:
    return f"MSH|^~\\&|EHR||LAB||20260105||ACK|9{control_id}|P|2.5.1\rMSA|AE|{control_id}\r"


@pytest.mark.parametrize("together", [False, True])
async def test_one_malformed_answer_does_not_take_the_others_with_it(together: bool) -> None:
    core = RecordingCore()
    parameters: dict[str, Value] = {"ackMode": "message", "batchAck": "batch"}
    channel = Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        bodies = [(MESSAGE % name).encode() for name in ("1", "2", "3")]
        await device.send(*([b"BHS|^~\\&|LAB\r" + b"".join(bodies)] if together else bodies))
        messages = await core.accepted(1 if together else 3)
        messages = list(messages[0].parts) or messages
        for seq, each in enumerate(messages, 1):
            each.seq = seq
        channel.committed(messages)
        answers = [acknowledgment("1"), "MSH", acknowledgment("3")]
        deliveries = channel.answer([(each, Answer(True, answer)) for each, answer in zip(messages, answers, strict=True)])
        assert deliveries == [Delivery.SENT] * 3
        received = await device.receive() if together else b"".join([await device.receive() for _ in range(3)])
        codes = [segment.split(b"|")[1:3] for segment in received.split(b"\r") if segment.startswith(b"MSA")]
        assert codes == [[b"AE", b"1"], [b"AA", b"2"], [b"AE", b"3"]]


async def test_nor_does_one_at_which_something_fails(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Replies.to_answer

    def fail_at_two(self: Replies, header: Header, answer: Answer) -> bytes:
        if header.control_id == "2":
            raise RuntimeError("SECRET")
        return made(self, header, answer)

    monkeypatch.setattr(Replies, "to_answer", fail_at_two)
    core = RecordingCore()
    channel = Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "")))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(*((MESSAGE % name).encode() for name in ("1", "2")))
        messages = await core.accepted(2)
        channel.committed(messages)
        channel.answer([(each, Answer(True, acknowledgment(each.control_id))) for each in messages])
        assert [msa(await device.receive()) for _ in range(2)] == [("AE", "1"), ("AE", "2")]
    assert "not passed on: RuntimeError" in caplog.text
    assert "SECRET" not in caplog.text
