"""One connection: a device that does not read its answers, and one that sends no more and reads on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvloop

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient, framed
from medagent.types import Answer, Delivery, InboundMessage, Refusal, RefusalKind
from medagent_hl7.message import msa
from medagent_hl7.server import Hl7Channel

MESSAGE = b"MSH|^~\\&|LAB||EHR||20260105||ADT^A01|%d|P|2.5\rPID|1\r"
ACKNOWLEDGMENT = "MSH|^~\\&|EHR||LAB||20260105||ACK^A01|9|P|2.5\rMSA|AA|1|" + "x" * 500_000
ANSWER = Answer(True, ACKNOWLEDGMENT)


class Site:
    """A channel and a device that reads only when it is told to."""

    def __init__(self) -> None:
        self.core = RecordingCore()
        self.channel = Hl7Channel(self.core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "")))
        self.sent = 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def block(self) -> None:
        """Answer until the device's connection takes no more; the last answer waits."""
        # a stream reader reads ahead no more than twice its limit
        self.reader, self.writer = await asyncio.open_connection(*self.channel.address.split(":"), limit=1024)
        self.writer.write(framed(MESSAGE % 1))
        [accepted] = await self.core.accepted(1)
        delivery = Delivery.SENT
        while delivery is Delivery.SENT:
            self.sent += 1
            [delivery] = self.channel.answer([(accepted, ANSWER)])
        assert delivery is Delivery.QUEUED


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    await made.channel.start()
    yield made
    await made.channel.close()
    made.writer.transport.abort()


async def test_device_gets_what_waited_when_it_reads(site: Site) -> None:
    await site.block()
    site.writer.write(framed(MESSAGE % 2))
    host, port = site.channel.address.split(":")
    async with await MllpClient.connect(host, int(port)) as other:
        await other.send(MESSAGE % 3)
        # who does not read is not read from, and the others do not suffer
        assert [message.control_id for message in await site.core.accepted(2)] == ["1", "3"]
    frame = framed(ACKNOWLEDGMENT.encode())
    async with asyncio.timeout(10):
        assert await site.reader.readexactly(site.sent * len(frame)) == frame * site.sent
    await site.core.until(lambda: bool(site.core.outcomes))
    assert site.core.outcomes == [(site.core.messages[0], Delivery.SENT)]
    assert [message.control_id for message in await site.core.accepted(3)] == ["1", "3", "2"]


async def test_device_that_never_reads_is_given_up_at_the_end(site: Site) -> None:
    await site.block()
    site.writer.write(framed(MESSAGE % 2))
    await site.channel.close()
    assert site.core.outcomes == [(site.core.messages[0], Delivery.GONE)]
    assert [message.control_id for message in site.core.messages] == ["1"]
    assert site.channel.connections == 0


async def test_device_that_leaves_while_an_answer_waits(site: Site) -> None:
    await site.block()
    site.writer.transport.abort()
    [first] = site.core.messages
    # nothing is read from a blocked device, so only writing tells that it has left
    await site.core.until(lambda: bool(site.core.outcomes))
    assert site.core.outcomes == [(first, Delivery.GONE)]
    assert site.channel.answer([(first, ANSWER)]) == [Delivery.GONE]


async def test_answers_that_wait_are_written_before_closing(site: Site) -> None:
    await site.block()
    frame = framed(ACKNOWLEDGMENT.encode())
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(site.channel.close())
        received = await site.reader.read(-1)
    assert received == frame * site.sent
    assert [delivery for _, delivery in site.core.outcomes] == [Delivery.SENT]


class HalfClosed:
    """A device that has sent messages and sends no more, and still reads."""

    def __init__(self, **parameters: Value) -> None:
        self.core = RecordingCore()
        self.channel = Hl7Channel(self.core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)))
        self.accepted: list[InboundMessage] = []
        self.full = "maxConnections" in parameters
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> HalfClosed:
        await self.channel.start()
        self.reader, self.writer = await asyncio.open_connection(*self.channel.address.split(":"))
        self.writer.write(framed(MESSAGE % 1) + framed(MESSAGE % 2))
        self.writer.write_eof()
        self.accepted = (await self.core.accepted(2))[:2]
        if self.full:
            return self
        # what another one sends later is handed over: the end of this one's sending has been read by then
        host, port = self.channel.address.split(":")
        async with await MllpClient.connect(host, int(port)) as other:
            await other.send(MESSAGE % 3)
            self.channel.refused((await self.core.accepted(3))[2:], Refusal(RefusalKind.STORAGE, "full"))
            await other.receive()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self.channel.close()

    async def received(self) -> list[tuple[str, str] | None]:
        """What comes until the channel closes."""
        async with asyncio.timeout(10):
            received = await self.reader.read()
        return [msa(frame.removeprefix(b"\x0b")) for frame in received.split(b"\x1c\r") if frame]


async def test_a_device_that_sends_no_more_gets_its_commit_acknowledgments() -> None:
    async with HalfClosed(enhanced="true") as device:
        first, second = device.accepted
        device.channel.committed([first])
        device.channel.refused([second], Refusal(RefusalKind.STORAGE, "full"))
        assert await device.received() == [("CA", "1"), ("CE", "2")]
        assert device.channel.answer([(first, Answer(True, ""))]) == [Delivery.GONE]


async def test_and_in_original_mode_the_answers() -> None:
    async with HalfClosed() as device:
        device.channel.committed(device.accepted)
        for message in device.accepted:
            assert device.channel.answer([(message, Answer(True, ""))]) == [Delivery.SENT]
        assert await device.received() == [("AA", "1"), ("AA", "2")]


async def test_and_those_too_after_the_mode_has_changed() -> None:
    async with HalfClosed() as device:
        device.channel.committed(device.accepted)
        config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"enhanced": "aa"})
        assert device.channel.reconfigure(config)
        for message in device.accepted:
            assert device.channel.answer([(message, Answer(False, ""))]) == [Delivery.SENT]
        assert await device.received() == [("AE", "1"), ("AE", "2")]


async def test_but_not_for_ever() -> None:
    # reading is not taken up again by what others do, and no idle time-out ends it early
    async with HalfClosed(writeTimeoutMs=200, idleTimeoutMs=1, frameIdleTimeoutMs=1) as device:
        device.channel.committed(device.accepted)
        device.channel.answer([(device.accepted[0], Answer(True, ""))])
        device.channel.pause_reading()
        device.channel.resume_reading()
        assert await device.received() == [("AA", "1")]


async def test_what_the_pace_holds_is_still_handed_over() -> None:
    async with HalfClosed(enhanced="true", messagesPerMin=600) as device:
        device.channel.committed(device.accepted)
        assert await device.received() == [("CA", "1"), ("CA", "2")]


async def test_a_device_that_is_owed_nothing_is_closed_at_once() -> None:
    core = RecordingCore()
    channel = Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"enhanced": "true"})))
    async with running(channel) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(framed(MESSAGE % 1))
        channel.committed(await core.accepted(1))
        writer.write_eof()
        async with asyncio.timeout(10):
            assert msa((await reader.read())[1:-2]) == ("CA", "1")
        writer.close()


async def test_who_is_waited_for_makes_room_for_the_next() -> None:
    async with HalfClosed(maxConnections=1) as device:
        host, port = device.channel.address.split(":")
        async with await MllpClient.connect(host, int(port)) as other:
            await other.send(MESSAGE % 3)
            assert len(await device.core.accepted(3)) == 3
        assert await device.received() == []


def test_half_closed_with_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_device_that_sends_no_more_gets_its_commit_acknowledgments())
        runner.run(test_and_in_original_mode_the_answers())
        runner.run(test_but_not_for_ever())


async def test_a_fault_of_its_own_code_is_reported_and_closes_that_connection(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    core = RecordingCore()
    channel = Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "")))
    core.fault = LookupError("SMITH^JOHN")
    async with running(channel) as (host, port), await MllpClient.connect(host, port) as bad:
        await bad.send(MESSAGE % 1)
        await core.until(lambda: bool(core.reported))
        core.fault = None
        async with await MllpClient.connect(host, port) as good:
            await good.send(MESSAGE % 2)
            await core.accepted(1)
    assert [(where, type(error), at) for where, error, at in core.reported] == [("received", LookupError, "127.0.0.1")]
    assert "SMITH" not in caplog.text
