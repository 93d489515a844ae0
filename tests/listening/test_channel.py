"""A TCP channel with the simplest of protocols, a message a line, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import uvloop

from medagent.channel import Noticing, Reconfigurable
from medagent.config.model import ChannelConfig, Value
from medagent.listening import Overdue, TcpChannel, TcpConnection
from medagent.listening.connection import MOST_AT_ONCE
from medagent.testing.channel import RecordingCore, running
from medagent.types import Answer, Delivery, InboundMessage, Refusal, RefusalKind

BIG = 8 * 1024 * 1024
"""More than the buffers of a loopback connection take."""


class Lines(TcpConnection):
    rest = b""

    def received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        if b"fault" in lines:
            raise ValueError("SMITH^JOHN")
        self.accept([self.message(line, line.decode()) for line in lines])

    @property
    def held(self) -> int:
        return len(self.rest)


class LineChannel(TcpChannel[Lines]):
    content_type = "text/plain"

    def make_connection(self) -> Lines:
        return Lines(self)

    def forward(self, message: InboundMessage) -> str:
        return (message.body or b"").decode()

    def when_committed(self, message: InboundMessage) -> bytes:
        return b"stored %b\n" % message.body

    def when_refused(self, message: InboundMessage, refusal: Refusal) -> bytes:
        return b"refused %b\n" % message.body

    def when_answered(self, message: InboundMessage, answer: Answer) -> bytes:
        return answer.body.encode()


class Device:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), 10)

    async def closed(self) -> bytes:
        """What comes until the channel closes the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), 10)
        except ConnectionError:
            return b""


def make_channel(core: RecordingCore, **parameters: Value) -> LineChannel:
    return LineChannel(core.context(ChannelConfig("lab", "line", "127.0.0.1", 0, "", parameters=parameters)))


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[Device]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        yield Device(reader, writer)
    finally:
        writer.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def reset(device: socket.socket) -> None:
    """Have it end by a reset, as a device does that crashes."""
    device.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def accepted(text: str) -> Answer:
    return Answer(True, text)


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_messages_are_handed_over_and_devices_are_told(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        core = RecordingCore()
        channel = make_channel(core)
        async with running(channel) as address, connected(address) as first, connected(address) as second:
            await first.send(b"a\nb\nc")
            a, b = await core.accepted(2)
            await second.send(b"x\n")
            (x,) = (await core.accepted(3))[2:]
            assert (a.body, a.link, x.link) == (b"a", b.link, x.link)
            assert a.link != x.link
            channel.committed([a, b])
            channel.refused([x], Refusal(RefusalKind.STORAGE, "no"))
            assert [await first.line(), await first.line(), await second.line()] == [
                b"stored a\n",
                b"stored b\n",
                b"refused x\n",
            ]
            assert channel.answer([(b, accepted("B\n")), (a, accepted("")), (x, accepted("X\n"))]) == [
                Delivery.SENT,
                Delivery.NOT_OWED,
                Delivery.SENT,
            ]
            assert [await first.line(), await second.line()] == [b"B\n", b"X\n"]
            assert channel.connections == 2

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())


def test_it_offers_what_the_core_asks_for() -> None:
    channel = make_channel(RecordingCore())
    assert isinstance(channel, Noticing)
    assert isinstance(channel, Reconfigurable)
    assert channel.address == ""


async def test_answer_to_a_device_that_has_gone() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address:
        async with connected(address) as device:
            await device.send(b"a\n")
            (message,) = await core.accepted(1)
            reset(device.writer.get_extra_info("socket"))
            device.writer.transport.abort()
            await until(lambda: channel.connections == 0)
        channel.committed([message])
        assert channel.answer([(message, accepted("A\n"))]) == [Delivery.GONE]


async def test_device_that_sends_no_more_is_told_what_it_is_owed() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\nb\n")
        device.writer.write_eof()
        a, b = await core.accepted(2)
        await until(lambda: all(each.half_closed for each in channel.connected.values()))
        channel.committed([a, b])
        channel.answer([(a, accepted("A\n"))])
        channel.answer([(b, accepted("B\n"))])
        assert await device.closed() == b"stored a\nstored b\nA\nB\n"


async def test_device_that_is_owed_nothing_may_hang_up() -> None:
    channel = make_channel(RecordingCore())
    async with running(channel) as address, connected(address) as device:
        device.writer.write_eof()
        assert await device.closed() == b""


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_nothing_is_read_while_the_core_is_behind(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        core = RecordingCore()
        channel = make_channel(core)
        async with running(channel) as address, connected(address) as early:
            await early.send(b"a\n")
            await core.accepted(1)
            channel.pause_reading()
            async with connected(address) as late:
                await late.send(b"b\n")
                await early.send(b"c\n")
                await until(lambda: channel.connections == 2)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert len(core.messages) == 1
                channel.resume_reading()
                assert {message.body for message in await core.accepted(3)} == {b"a", b"b", b"c"}

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_flood_is_dealt_with_in_small_portions(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def scenario() -> None:
        core = RecordingCore()
        channel = make_channel(core, maxBufferedBytes=4096)
        async with running(channel) as address, connected(address) as device:
            names = [b"%05d" % number for number in range(30_000)]
            await device.send(b"\n".join(names) + b"\n")
            device.writer.write_eof()
            await core.accepted(len(names))
            assert [message.body for message in core.messages] == names
            assert max(map(len, core.reads)) <= MOST_AT_ONCE // len(b"00000\n") + 1
            channel.committed(core.messages[-1:])
            assert await device.line() == b"stored 29999\n"

    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(scenario())


async def test_a_pause_holds_in_the_middle_of_a_flood() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    take = channel.context.accept

    def take_and_pause(messages: list[InboundMessage]) -> None:
        take(messages)
        channel.pause_reading()

    channel.context.accept = take_and_pause
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\n" * MOST_AT_ONCE)
        await core.accepted(1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(core.reads) == 1
        channel.context.accept = take
        channel.resume_reading()
        await core.accepted(MOST_AT_ONCE)


async def test_a_pause_holds_the_device_back_and_takes_no_memory() -> None:
    channel = make_channel(RecordingCore())
    async with running(channel) as address, connected(address) as device:
        channel.pause_reading()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(device.send(b"x" * BIG), 0.1)
        assert sum(each.held_in_all for each in channel.connected.values()) < BIG // 8


async def test_device_that_does_not_read_is_not_read_either_and_its_answers_are_queued() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\nb\n")
        a, b = await core.accepted(2)
        assert channel.answer([(a, accepted("A" * BIG + "\n"))]) == [Delivery.QUEUED]
        assert channel.answer([(b, accepted("B\n"))]) == [Delivery.QUEUED]
        await device.send(b"c\n")
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(core.messages) == 2
        assert (await asyncio.wait_for(device.reader.readexactly(BIG + 3), 10)).endswith(b"A\nB\n")
        await core.accepted(3)
        assert core.outcomes == [(a, Delivery.SENT), (b, Delivery.SENT)]


async def test_device_that_reads_slowly_is_not_taken_for_one_that_does_not_while_more_comes_for_it() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\nb\n")
        a, b = await core.accepted(2)
        channel.answer([(a, accepted("A" * BIG))])
        channel.answer([(b, accepted("B" * BIG))])
        [connection] = channel.connected.values()
        assert connection.overdue(time.monotonic() + 61) is Overdue.WRITE
        await asyncio.wait_for(device.reader.readexactly(BIG // 2), 10)
        assert connection.overdue(time.monotonic() + 61) is None
        assert connection.overdue(time.monotonic() + 130) is Overdue.WRITE


async def test_device_that_never_reads_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    core = RecordingCore()
    channel = make_channel(core, writeTimeoutMs=50)
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\nb\n")
        a, b = await core.accepted(2)
        assert channel.answer([(a, accepted("A" * BIG)), (b, accepted("B"))]) == [Delivery.QUEUED, Delivery.QUEUED]
        await core.until(lambda: bool(core.outcomes))
        assert core.outcomes == [(a, Delivery.GONE), (b, Delivery.GONE)]
        await until(lambda: channel.connections == 0)
    assert channel.notices == {"connection closed": 1}
    assert "device does not read its answers, from 127.0.0.1" in caplog.text


@pytest.mark.parametrize(
    ("parameter", "sent", "reason"),
    [
        ("idleTimeoutMs", b"", "idle connection"),
        ("frameIdleTimeoutMs", b"half", "pause inside a frame"),
    ],
)
async def test_silence(parameter: str, sent: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    channel = make_channel(RecordingCore(), **{parameter: 40})
    async with running(channel) as address, connected(address) as device:
        await device.send(sent)
        assert await device.closed() == b""
    assert f"connection closed: {reason}, from 127.0.0.1" in caplog.text
    assert channel.notices == {"connection closed": 1}


async def test_connection_above_the_most_is_refused_until_another_ends() -> None:
    core = RecordingCore()
    channel = make_channel(core, maxConnections=1)
    async with running(channel) as address:
        async with connected(address) as first:
            await first.send(b"a\n")
            await core.accepted(1)
            async with connected(address) as second:
                assert await second.closed() == b""
            channel.refused(core.messages, Refusal(RefusalKind.STORAGE, "no"))
        await until(lambda: channel.connections == 0)
        async with connected(address) as third:
            await third.send(b"b\n")
            await core.accepted(2)
    assert channel.notices == {"connection refused": 1}


async def test_device_that_has_left_makes_room() -> None:
    core = RecordingCore()
    channel = make_channel(core, maxConnections=1)
    async with running(channel) as address, connected(address) as first:
        await first.send(b"a\n")
        await core.accepted(1)
        first.writer.write_eof()
        await until(lambda: all(each.half_closed for each in channel.connected.values()))
        async with connected(address) as second:
            await second.send(b"b\n")
            await core.accepted(2)


async def test_half_frames_of_all_devices_have_a_limit() -> None:
    core = RecordingCore()
    channel = make_channel(core, maxBufferedBytes=5000)
    async with running(channel) as address, connected(address) as small, connected(address) as large:
        await small.send(b"s" * 1000)
        await until(lambda: any(each.held for each in channel.connected.values()))
        await large.send(b"l" * 4500)
        assert await large.closed() == b""
        await small.send(b"\n")
        assert (await core.accepted(1))[0].size == 1000
    assert channel.notices["connection closed"] == 1


async def test_fault_of_one_connection_is_its_own(caplog: pytest.LogCaptureFixture) -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as bad, connected(address) as good:
        await bad.send(b"fault\n")
        assert await bad.closed() == b""
        await good.send(b"a\n")
        await core.accepted(1)
    assert "ValueError while handling a read" in caplog.text
    [(where, error, host)] = core.reported
    assert (where, type(error), host) == ("received", ValueError, "127.0.0.1")
    assert "SMITH" not in caplog.text


async def test_fault_met_when_a_device_connects_keeps_no_other_out(monkeypatch: pytest.MonkeyPatch) -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address:
        with monkeypatch.context() as patched:
            patched.setattr(channel, "make_connection", None)
            async with connected(address) as refused:
                assert await refused.closed() == b""
        async with connected(address) as device:
            await device.send(b"a\n")
            await core.accepted(1)
    assert channel.notices == {"connection refused": 1}


async def test_connection_lost_in_a_frame_is_noted() -> None:
    channel = make_channel(RecordingCore())
    async with running(channel) as address:
        async with connected(address) as device:
            await device.send(b"half")
            await until(lambda: any(each.held for each in channel.connected.values()))
        await until(lambda: channel.connections == 0)
    assert channel.notices == {"connection lost in a frame": 1}


async def test_close_writes_out_what_waits() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\n")
        (a,) = await core.accepted(1)
        channel.answer([(a, accepted("A" * BIG))])
        closing = asyncio.ensure_future(channel.close())
        assert len(await device.closed()) == BIG
        await closing
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


async def test_stop_accepting_reads_no_more_and_acknowledges_still() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as device:
        await device.send(b"a\n")
        (a,) = await core.accepted(1)
        await channel.stop_accepting()
        assert channel.address == ""
        await device.send(b"b\n")
        channel.committed([a])
        assert await device.line() == b"stored a\n"
        assert len(core.messages) == 1


async def test_other_limits_come_into_force_on_open_connections(caplog: pytest.LogCaptureFixture) -> None:
    channel = make_channel(RecordingCore(), frameIdleTimeoutMs=40)
    async with running(channel) as address, connected(address) as device:
        assert channel.reconfigure(replace(channel.config, parameters={"idleTimeoutMs": 20}))
        assert await device.closed() == b""
    assert "idle connection" in caplog.text


async def test_a_reset_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address:
        for _ in range(20):
            with socket.create_connection(address) as device:
                reset(device)
        async with connected(address) as device:
            await device.send(b"a\n")
            await core.accepted(1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
