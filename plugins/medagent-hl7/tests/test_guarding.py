"""Bad neighbours, over real sockets: half frames, silence, devices that do not read, and those beside them that are well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient, framed
from medagent.types import Answer, Delivery, Refusal, RefusalKind
from medagent_hl7.server import Hl7Channel

LARGE = "MSH|^~\\&|EHR||LAB||20260105||ACK^A01|9|P|2.5\rMSA|AA|1|" + "x" * 500_000
QUICK = 40
"""Milliseconds, for the time-outs under test."""


@pytest.fixture
def core() -> Iterator[RecordingCore]:
    return RecordingCore()


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|{control_id}|P|2.5\rPID|1||SECRET\r".encode()


def channel_of(core: RecordingCore, **parameters: Value) -> Hl7Channel:
    return Hl7Channel(core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)))


@pytest.mark.parametrize(
    ("sent", "outline"),
    [
        (b"\x0b", "0 bytes since the start block at byte 0 of the connection, empty"),
        (b"\r\n\x0b" + message("1"), "begins with MSH, ends with CR"),
        (b"\x0b" + message("1") + b"\x1c", "ends with the end block, whose carriage return is missing"),
        (b"\x0b" + message("1")[:30], "30 bytes since the start block at byte 0 of the connection, begins with MSH"),
    ],
)
async def test_half_frame_ends_its_connection(
    core: RecordingCore, caplog: pytest.LogCaptureFixture, sent: bytes, outline: str
) -> None:
    async with (
        running(channel_of(core, enhanced="true", frameIdleTimeoutMs=QUICK)) as address,
        await MllpClient.connect(*address) as idle,
        await MllpClient.connect(*address) as bad,
    ):
        await bad.send_raw(sent)
        assert await bad.closed() == b""
        # between frames there is no such limit
        await idle.send(message("2"))
        assert [each.control_id for each in await core.accepted(1)] == ["2"]
    assert "connection closed: pause inside a frame: " in caplog.text
    assert outline in caplog.text
    assert "SECRET" not in caplog.text
    assert "connection lost in a frame" not in caplog.text


async def test_half_frame_of_a_device_that_hangs_up_is_dropped(core: RecordingCore, caplog: pytest.LogCaptureFixture) -> None:
    channel = channel_of(core)
    async with running(channel) as address:
        async with await MllpClient.connect(*address) as device:
            await device.send_raw(framed(message("1")) + b"\x0b" + message("2"))
            accepted = await core.accepted(1)
            channel.refused(accepted, Refusal(RefusalKind.STORAGE, "no"))
        async with asyncio.timeout(10):
            while channel.connections:
                await asyncio.sleep(0)
        assert len(core.messages) == 1
    assert "connection lost in a frame: dropped" in caplog.text
    assert "begins with MSH, ends with CR, from 127.0.0.1" in caplog.text
    assert "SECRET" not in caplog.text


async def test_whoever_goes_on_inside_a_frame_is_not_closed(core: RecordingCore) -> None:
    async with running(channel_of(core, frameIdleTimeoutMs=1000)) as address, await MllpClient.connect(*address) as slow:
        for byte in framed(message("1")):
            await slow.send_raw(bytes([byte]))
            await asyncio.sleep(0)
        assert [each.body for each in await core.accepted(1)] == [message("1")]


async def test_pause_of_the_channel_is_not_the_devices(core: RecordingCore) -> None:
    limit = 1.0
    channel = channel_of(core, frameIdleTimeoutMs=round(limit * 1000), idleTimeoutMs=round(limit * 1000))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send_raw(framed(message("1")) + b"\x0bMSH")
        await core.accepted(1)
        channel.pause_reading()
        await asyncio.sleep(1.1 * limit)
        channel.resume_reading()
        # it has as long again: so much that the channel looks at it at least once
        await asyncio.sleep(0.3 * limit)
        await device.send_raw(message("2")[3:] + b"\x1c\r")
        assert [each.body for each in await core.accepted(2)] == [message("1"), message("2")]


async def test_end_block_and_a_pause_end_a_frame_leniently(core: RecordingCore) -> None:
    async with running(channel_of(core, lenientEnd=True)) as address, await MllpClient.connect(*address) as device:
        await device.send_raw(b"\x0b" + message("1") + b"\x1c")
        assert [each.body for each in await core.accepted(1)] == [message("1")]
        await device.send_raw(b"\r" + framed(message("2")))
        assert [each.control_id for each in await core.accepted(2)] == ["1", "2"]


async def test_idle_connection_is_closed_where_that_is_asked_for(core: RecordingCore, caplog: pytest.LogCaptureFixture) -> None:
    async with running(channel_of(core, idleTimeoutMs=QUICK)) as address, await MllpClient.connect(*address) as device:
        await device.send(message("1"))
        await core.accepted(1)
        assert await device.closed() == b""
    assert "connection closed: idle connection, from 127.0.0.1" in caplog.text


async def test_longest_half_frame_is_closed_above_the_total(core: RecordingCore, caplog: pytest.LogCaptureFixture) -> None:
    channel = channel_of(core, maxBufferedBytes=10_000)
    async with (
        running(channel) as address,
        await MllpClient.connect(*address) as small,
        await MllpClient.connect(*address) as large,
        await MllpClient.connect(*address) as last,
    ):
        for number, (device, size) in enumerate(((small, 1000), (large, 8000), (last, 2000)), start=1):
            await device.send_raw(framed(message(str(number))) + b"\x0b" + b"x" * size)
            await core.accepted(number)
        assert await large.closed() == b""
        await small.send_raw(b"\x1c\r" + framed(message("4")))
        # what was freed is free
        await last.send_raw(b"\x1c\r" + framed(message("5")) + b"\x0b" + b"x" * 9000)
        await core.accepted(5)
        await last.send_raw(b"\x1c\r" + framed(message("6")))
        assert {each.control_id for each in await core.accepted(6)} == set("123456")
    assert "11000 bytes of unfinished frames" in caplog.text


async def test_device_that_never_reads_is_closed_and_pauses_only_itself(
    core: RecordingCore, caplog: pytest.LogCaptureFixture
) -> None:
    channel = channel_of(core, writeTimeoutMs=QUICK)
    async with running(channel) as (host, port):
        # a stream reader reads ahead no more than twice its limit
        _, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(framed(message("1")))
        [accepted] = await core.accepted(1)
        delivery = Delivery.SENT
        while delivery is Delivery.SENT:
            [delivery] = channel.answer([(accepted, Answer(True, LARGE))])
        async with await MllpClient.connect(host, port) as other:
            await other.send(message("2"))
            assert [each.control_id for each in await core.accepted(2)] == ["1", "2"]
            await core.until(lambda: bool(core.outcomes))
            assert core.outcomes == [(accepted, Delivery.GONE)]
            assert channel.connections == 1
        writer.transport.abort()
    assert "connection closed: device does not read its answers" in caplog.text


async def test_messages_per_minute(core: RecordingCore) -> None:
    channel = channel_of(core, messagesPerMin=60_000 // QUICK)
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(*[message(str(number)) for number in range(4)])
        accepted = await core.accepted(4)
        assert [each.control_id for each in accepted] == ["0", "1", "2", "3"]
        # each was handed over by itself, although they came in one read
        assert [len(read) for read in core.reads] == [1, 1, 1, 1]


async def test_a_batch_counts_as_one_message(core: RecordingCore) -> None:
    async with running(channel_of(core, messagesPerMin=1)) as address, await MllpClient.connect(*address) as device:
        await device.send(b"BHS|^~\\&|LAB\r" + b"".join(message(str(number)) for number in range(4)), message("4"))
        [batch] = await core.accepted(1)
        assert len(batch.parts) == 4
        # the next one has to wait a minute
        assert core.messages == [batch]


async def test_paced_device_is_not_read_from(core: RecordingCore) -> None:
    channel = channel_of(core, messagesPerMin=1)
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        with pytest.raises(TimeoutError):  # the system's buffers do not hold so much
            async with asyncio.timeout(0.5):
                await device.send_raw(framed(message("1")) * 300_000)
        assert len(core.messages) == 1
        device.abort()


async def test_paced_messages_wait_while_the_channel_is_paused(core: RecordingCore) -> None:
    channel = channel_of(core, messagesPerMin=60_000 // QUICK)
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(message("1"), message("2"), message("3"))
        await core.accepted(1)
        channel.pause_reading()
        await asyncio.sleep(3 * QUICK / 1000)
        assert len(core.messages) == 1
        channel.resume_reading()
        assert [each.control_id for each in await core.accepted(3)] == ["1", "2", "3"]


async def test_frame_over_the_limit_is_answered_at_once_and_not_for_ever(
    core: RecordingCore, caplog: pytest.LogCaptureFixture
) -> None:
    config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"enhanced": "true"})
    channel = Hl7Channel(core.context(config, max_body_bytes=20_000))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send_raw(b"\x0b" + message("1") + b"x" * 30_000)
        refused = await device.receive()
        assert b"MSA|CR|1|The message is longer than 20000 bytes" in refused
        # its rest is dropped, and the next frame is read
        await device.send_raw(b"x" * 30_000 + b"\x1c\r" + framed(message("2")))
        assert [each.control_id for each in await core.accepted(1)] == ["2"]
        await device.send_raw(b"\x0b" + b"x" * 100_002)
        assert await device.closed() == b""
    assert caplog.text.count("message too long") == 1, "once, not again at its end"
    assert "discarded" not in caplog.text
    assert "sends a frame of more than 5 times the limit" in caplog.text


@pytest.mark.parametrize("headers", [b"BHS|^~\\&|LAB\r", b"FHS|^~\\&|LAB\r", b""])
async def test_batch_over_the_limit_is_told_to_come_in_several(core: RecordingCore, headers: bytes) -> None:
    config = ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters={"enhanced": "true"})
    channel = Hl7Channel(core.context(config, max_body_bytes=20_000))
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        await device.send(headers + message("1") + message("2") + b"x" * 30_000)
        refused = await device.receive()
        assert b"MSA|CR|1|The batch is longer than 20000 bytes: send its messages in several" in refused
        assert channel.notices == {"message too long": 1}


@pytest.mark.parametrize("useless", [b"\x0b\x1c\r", b"\x0bx\x1c\r", b"\x0bx", b"\x0b\x06\x1c\r"])
async def test_a_long_run_of_frames_without_a_message_ends_its_connection(
    core: RecordingCore, caplog: pytest.LogCaptureFixture, useless: bytes
) -> None:
    async with (
        running(channel_of(core, enhanced="true")) as address,
        await MllpClient.connect(*address) as odd,
        await MllpClient.connect(*address) as bad,
    ):
        for control_id in ("1", "2"):
            await odd.send_raw(useless * 999 + framed(message(control_id)))
        assert [each.control_id for each in await core.accepted(2)] == ["1", "2"]
        await bad.send_raw(useless * 1001 + framed(message("3")))
        await bad.closed()
        assert len(await core.accepted(2)) == 2
    assert "connection closed: 1000 frames in a row without a message, from 127.0.0.1" in caplog.text
