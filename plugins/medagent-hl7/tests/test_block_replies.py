"""A listener of MLLP release 2, over real sockets, with a core that records."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore
from medagent.testing.mllp import MllpClient
from medagent.types import Answer, Delivery, Refusal, RefusalKind
from medagent_hl7.message import msa
from medagent_hl7.server import Hl7Channel

ACK, NAK = b"\x06", b"\x15"
MAX_BODY = 20_000


def message(control_id: str = "M1", message_type: str = "ADT^A01", msh_15_16: str = "") -> bytes:
    msh = rf"MSH|^~\&|LAB|NORTH|EHR|MAIN|20260105||{message_type}|{control_id}|P|2.5.1|||{msh_15_16}"
    return f"{msh}\rPID|1||4711||Muster^Erika\r".encode()


class Site:
    """A channel, and a device on it."""

    def __init__(self, channel: Hl7Channel, core: RecordingCore, device: MllpClient) -> None:
        self.channel = channel
        self.core = core
        self.device = device

    async def accepted(self, body: bytes) -> None:
        """Send a message and let the channel hand it over."""
        await self.device.send(body)
        await self.core.accepted(len(self.core.messages) + 1)

    async def receive(self, count: int) -> list[object]:
        """The next frames: blocks as they are, acknowledgments as MSA-1 and MSA-2."""
        bodies = [await self.device.receive() for _ in range(count)]
        return [body if body in (ACK, NAK) else msa(body) for body in bodies]


@contextlib.asynccontextmanager
async def site(**parameters: Value) -> AsyncIterator[Site]:
    core = RecordingCore()
    config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"mllpRelease": 2, **parameters})
    channel = Hl7Channel(core.context(config, max_body_bytes=MAX_BODY))
    await channel.start()
    try:
        async with await MllpClient.connect("127.0.0.1", int(channel.address.rpartition(":")[2])) as device:
            yield Site(channel, core, device)
    finally:
        await channel.close()


@pytest.mark.parametrize(
    ("parameters", "msh_15_16", "frames"),
    [
        ({}, "", [ACK]),
        ({"enhanced": "true"}, "", [ACK, ("CA", "M1")]),
        ({"enhanced": "aa"}, "", [ACK, ("AA", "M1")]),
        ({"ackMode": "message"}, "NE|NE", [ACK]),
        ({"ackMode": "message"}, "AL|NE", [ACK, ("CA", "M1")]),
    ],
)
async def test_a_message_on_disk(parameters: dict[str, Value], msh_15_16: str, frames: list[object]) -> None:
    async with site(**parameters) as at:
        await at.accepted(message(msh_15_16=msh_15_16))
        at.channel.committed(at.core.messages)
        assert await at.receive(len(frames)) == frames


@pytest.mark.parametrize(
    ("parameters", "kind", "code"),
    [
        ({}, RefusalKind.STORAGE, "AE"),
        ({}, RefusalKind.UNACCEPTABLE, "AR"),
        ({"enhanced": "true"}, RefusalKind.STORAGE, "CE"),
        ({"enhanced": "true"}, RefusalKind.UNACCEPTABLE, "CR"),
    ],
)
async def test_a_message_that_was_not_stored(parameters: dict[str, Value], kind: RefusalKind, code: str) -> None:
    async with site(**parameters) as at:
        await at.accepted(message())
        at.channel.refused(at.core.messages, Refusal(kind, "no"))
        assert await at.receive(2) == [NAK, (code, "M1")]


async def test_nothing_is_acknowledged_before_it_is_on_disk() -> None:
    async with site(ackMode="message") as at:
        await at.accepted(message("M1"))
        await at.accepted(message("M2", msh_15_16="NE|NE"))
        at.channel.refused(at.core.messages[1:], Refusal(RefusalKind.STORAGE, "the disk is full"))
        at.channel.committed(at.core.messages[:1])
        assert await at.receive(2) == [ACK, NAK]


async def test_the_answer_of_the_server_is_a_block_of_its_own_and_the_block_for_it_is_no_message() -> None:
    async with site(enhanced="true") as at:
        await at.accepted(message())
        at.channel.committed(at.core.messages)
        assert await at.receive(2) == [ACK, ("CA", "M1")]
        answer = Answer(True, "MSH|^~\\&|EHR|MAIN|LAB|NORTH|20260105||ACK^A01|9|P|2.5.1\rMSA|AA|M1")
        assert at.channel.answer([(at.core.messages[0], answer)]) == [Delivery.SENT]
        assert await at.receive(1) == [("AA", "M1")]
        await at.device.send(ACK, ACK, message("M2"))
        await at.core.accepted(2)
        at.channel.committed(at.core.messages[1:])
        assert await at.receive(2) == [ACK, ("CA", "M2")]
        assert [accepted.control_id for accepted in at.core.messages] == ["M1", "M2"]


async def test_a_device_that_refuses_an_acknowledgment_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as at:
        await at.device.send(NAK)
        await at.accepted(message())
    assert "device did not store an acknowledgment" in caplog.text


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (b"hello", [NAK]),
        (b"", [NAK]),
        (b"msh|^~\\&|LAB||||||ADT^A01|M9|P|2.5.1\r", [NAK, ("AR", "M9")]),
        (b"x" * (MAX_BODY + 1), [NAK]),
        (message() + b"x" * MAX_BODY, [NAK, ("AR", "M1")]),
        (message("M2", "ACK^A01") + b"MSA|AA|M1\r", [ACK]),
    ],
    ids=["no HL7", "empty", "no usable MSH", "too long without MSH", "too long", "an acknowledgment"],
)
async def test_what_is_never_handed_over_has_its_block_too(body: bytes, frames: list[object]) -> None:
    async with site() as at:
        await at.device.send(body)
        assert await at.receive(len(frames)) == frames
        await at.accepted(message("M3"))
        assert [accepted.control_id for accepted in at.core.messages] == ["M3"]


async def test_release_1_sends_no_block_and_takes_one_for_no_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with site(mllpRelease=1, enhanced="true") as at:
        await at.device.send(ACK, NAK, b"")
        await at.accepted(message())
        at.channel.committed(at.core.messages)
        assert await at.receive(1) == [("CA", "M1")]
    assert "block of MLLP release 2 ignored" in caplog.text
    assert "mllpRelease=2" in caplog.text


def batch(*messages: bytes) -> bytes:
    return b"BHS|^~\\&|LAB\r" + b"".join(messages) + b"BTS\r"


USED = Refusal(RefusalKind.DUPLICATE, "used")


@pytest.mark.parametrize("together", ["message", "batch"])
@pytest.mark.parametrize(("refused", "block"), [((), ACK), ((0,), ACK), ((1,), ACK), ((0, 1), NAK)])
async def test_a_batch_has_one_block_which_says_whether_anything_is_stored(
    refused: tuple[int, ...], block: bytes, together: str
) -> None:
    async with site(enhanced="true", batchAck=together) as at:
        await at.accepted(batch(message("M1"), message("M2")))
        [whole] = at.core.messages
        at.channel.committed([part for place, part in enumerate(whole.parts) if place not in refused])
        for place in refused:
            at.channel.refused([whole.parts[place]], USED)
        assert await at.receive(1) == [block]
        frames = [await at.device.receive() for _ in range(1 if together == "batch" else 2)]
        told = [segment for segment in b"\r".join(frames).split(b"\r") if segment.startswith(b"MSA|")]
        expected = [b"MSA|CR|M%d" if place in refused else b"MSA|CA|M%d" for place in range(2)]
        assert [segment[:9] for segment in told] == [text % number for number, text in enumerate(expected, 1)]


async def test_a_batch_has_its_block_when_nothing_else_is_owed() -> None:
    async with site(ackMode="message") as at:
        await at.accepted(batch(message("M1", msh_15_16="NE|NE"), message("M2", msh_15_16="NE|NE")))
        [whole] = at.core.messages
        at.channel.refused(whole.parts[:1], USED)
        at.channel.committed(whole.parts[1:])
        await at.accepted(message("M3", msh_15_16="AL|NE"))
        at.channel.committed(at.core.messages[1:])
        assert await at.receive(3) == [ACK, ACK, ("CA", "M3")]


@pytest.mark.parametrize("body", [batch(), batch(message(message_type="ACK"))])
async def test_a_batch_without_messages_has_its_block_and_nothing_else(body: bytes) -> None:
    async with site(enhanced="true", batchAck="batch") as at:
        await at.device.send(body)
        await at.accepted(message())
        at.channel.committed(at.core.messages)
        assert await at.receive(3) == [ACK, ACK, ("CA", "M1")]
