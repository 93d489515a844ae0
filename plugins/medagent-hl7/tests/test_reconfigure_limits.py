"""Limits that change while a channel listens, on connections that are open."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvloop

from medagent.config.model import ChannelConfig, Value
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient
from medagent.types import Answer, Delivery, Refusal, RefusalKind
from medagent_hl7.server import Hl7Channel

LARGE = "MSH|^~\\&|EHR||LAB||20260105||ACK^A01|9|P|2.5\rMSA|AA|1|" + "x" * 500_000
QUICK = 40
"""Milliseconds, for the time-outs under test."""
NOT_STORED = Refusal(RefusalKind.STORAGE, "no")


def message(control_id: str) -> bytes:
    return f"MSH|^~\\&|LAB|NORTH|EHR||20260105||ADT^A01|{control_id}|P|2.5\rPID|1||4711\r".encode()


def config(**parameters: Value) -> ChannelConfig:
    return ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters)


class Site:
    """A channel and what it hands over."""

    def __init__(self, **parameters: Value) -> None:
        self.core = RecordingCore()
        self.channel = Hl7Channel(self.core.context(config(**parameters)))

    async def exchange(self, device: MllpClient) -> None:
        """One message, so that the connection is known to be open."""
        await device.send(message("0"))
        self.channel.refused((await self.core.accepted(len(self.core.messages) + 1))[-1:], NOT_STORED)
        await device.receive()

    def reconfigure(self, **parameters: Value) -> None:
        assert self.channel.reconfigure(config(**parameters))

    async def handed_over(self) -> list[str]:
        """Control IDs, without those of `exchange`; once the event loop has had many turns."""
        for _ in range(100):
            await asyncio.sleep(0)
        return [each.control_id for each in self.core.messages if each.control_id != "0"]


async def test_a_time_out_is_shortened_inside_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        await device.send_half(message("1"))
        site.reconfigure(frameIdleTimeoutMs=QUICK)
        assert await device.closed() == b""
    assert "pause inside a frame" in caplog.text


async def test_silence_gets_a_limit(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        site.reconfigure(idleTimeoutMs=QUICK)
        assert await device.closed() == b""
    assert "idle connection" in caplog.text


async def test_a_device_that_does_not_read_is_given_up_sooner() -> None:
    site = Site()
    async with running(site.channel) as (host, port):
        # a stream reader reads ahead no more than twice its limit
        _, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(b"\x0b" + message("1") + b"\x1c\r")
        [accepted] = await site.core.accepted(1)
        while site.channel.answer([(accepted, Answer(True, LARGE))]) == [Delivery.SENT]:
            pass
        site.reconfigure(writeTimeoutMs=QUICK)
        await site.core.until(lambda: bool(site.core.outcomes))
        assert site.core.outcomes == [(accepted, Delivery.GONE)]
        writer.transport.abort()


async def test_lenient_end_inside_a_frame() -> None:
    site = Site()
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        await device.send_raw(b"\x0b" + message("1") + b"\x1c")
        assert await site.handed_over() == []
        site.reconfigure(lenientEnd=True)
        await site.core.until(lambda: site.core.messages[-1].control_id == "1")


async def test_a_pace_begins_changes_and_ends() -> None:
    site = Site()
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        site.reconfigure(messagesPerMin=1)
        await device.send(*(message(str(number)) for number in range(1, 5)))
        await site.core.accepted(2)
        assert await site.handed_over() == ["1"]
        site.reconfigure(messagesPerMin=2)
        assert await site.handed_over() == ["1"]
        site.reconfigure(messagesPerMin=6000)
        await site.core.accepted(3)
        site.reconfigure()
        await device.send(message("5"))
        await site.core.accepted(6)
        assert await site.handed_over() == ["1", "2", "3", "4", "5"]


async def test_less_room_for_unfinished_frames(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        site.reconfigure(maxBufferedBytes=4096)
        await device.send_raw(b"\x0b" + b"x" * 5000)
        assert await device.closed() == b""
    assert "above maxBufferedBytes" in caplog.text


async def test_fewer_connections_are_allowed_and_none_is_dropped() -> None:
    site = Site()
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(running(site.channel))
        first, second = [await stack.enter_async_context(await MllpClient.connect(*address)) for _ in range(2)]
        await site.exchange(first)
        await site.exchange(second)
        site.reconfigure(maxConnections=1)
        async with await MllpClient.connect(*address) as third:
            assert await third.closed() == b""
        for device in (first, second):
            await site.exchange(device)
        site.reconfigure(maxConnections=3)
        await site.exchange(await stack.enter_async_context(await MllpClient.connect(*address)))


async def test_who_is_not_allowed_any_more_is_closed_and_the_rest_stay(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        site.reconfigure(allow="127.0.0.0/8")
        await site.exchange(device)
        await device.send(message("1"))
        await site.core.until(lambda: site.core.messages[-1].control_id == "1")
        site.reconfigure(allow="10.0.0.0/8")
        site.channel.committed(site.core.messages[-1:])
        assert await device.closed() == b""
        async with await MllpClient.connect(*address) as again:
            assert await again.closed() == b""
        # what it was read before is stored, and its answer has nowhere to go
        assert site.channel.answer([(site.core.messages[-1], Answer(True, "MSH|"))]) == [Delivery.GONE]
        site.reconfigure()
        async with await MllpClient.connect(*address) as last:
            await site.exchange(last)
    assert "connection closed: not in allow, from 127.0.0.1" in caplog.text
    assert "connection refused: not in allow, from 127.0.0.1" in caplog.text


async def test_nothing_more_is_read_from_who_is_not_allowed_any_more() -> None:
    site = Site(messagesPerMin=1)
    async with running(site.channel) as address, await MllpClient.connect(*address) as device:
        await site.exchange(device)
        await device.send(message("1"))
        await site.handed_over()
        site.reconfigure(allow="10.0.0.0/8")
        assert await device.closed() == b""
        assert await site.handed_over() == []


def test_uvloop() -> None:
    async def scenario() -> None:
        await test_a_device_that_does_not_read_is_given_up_sooner()
        await test_a_pace_begins_changes_and_ends()
        await test_fewer_connections_are_allowed_and_none_is_dropped()
        await test_nothing_more_is_read_from_who_is_not_allowed_any_more()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
