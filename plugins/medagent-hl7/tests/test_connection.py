"""One connection: a device that does not read its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from medagent.config.model import ChannelConfig
from medagent.testing.channel import RecordingCore
from medagent.testing.mllp import MllpClient, framed
from medagent.types import Answer, Delivery
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
