"""The byte stream channel over real sockets; the core is a stand-in that commits nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.errors import ChannelError
from medagent.testing.channel import RecordingCore, running
from medagent.types import Answer, Delivery, Refusal, RefusalKind
from medagent_tcp.channel import ByteStreamChannel

REFUSAL = Refusal(RefusalKind.STORAGE, "no")
ACKS: dict[str, Value] = {"ackBytes": "06", "nakBytes": "15"}


def config_of(**parameters: Value) -> ChannelConfig:
    return ChannelConfig("monitor", "tcp", "127.0.0.1", 0, "", parameters={"startChar": "\x02", "endChar": "\x03"} | parameters)


def make_channel(core: RecordingCore, max_body_bytes: int = 1_000_000, **parameters: Value) -> ByteStreamChannel:
    return ByteStreamChannel(core.context(config_of(**parameters), max_body_bytes=max_body_bytes))


@asynccontextmanager
async def connected(address: tuple[str, int]) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def test_frames_are_forwarded_as_hexadecimal_text_and_answers_come_back_as_bytes() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as (reader, writer):
        writer.write(b"noise\x02H\xc3\xfc\x03")
        (message,) = await core.accepted(1)
        assert (message.body, message.control_id) == (b"\x02H\xc3\xfc\x03", "")
        assert channel.forward(message) == "0248c3fc03"
        channel.committed([message])
        assert channel.answer([(message, Answer(True, "02 4f4B03"))]) == [Delivery.SENT]
        assert await reader.readexactly(4) == b"\x02OK\x03"
    assert channel.notices == {"bytes outside frames": 1}


@pytest.mark.parametrize(
    ("answer", "notices"),
    [
        (Answer(True, ""), {}),
        (Answer(False, "", "bot failure"), {}),
        (Answer(True, "Bot execution logs:\n"), {}),
        (Answer(True, "OK"), {"answer of the server is not hexadecimal": 1}),
        (Answer(True, "0"), {"answer of the server is not hexadecimal": 1}),
    ],
)
async def test_device_gets_nothing_but_bytes_of_the_server(answer: Answer, notices: dict[str, int]) -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as (reader, writer):
        writer.write(b"\x02a\x03\x02b\x03")
        first, second = await core.accepted(2)
        channel.committed([first, second])
        assert channel.answer([(first, answer)]) == [Delivery.NOT_OWED]
        assert channel.answer([(second, Answer(True, "4F4B"))]) == [Delivery.SENT]
        assert await reader.readexactly(2) == b"OK"
        assert channel.notices == notices


async def test_acknowledgments_leave_in_the_order_of_the_frames() -> None:
    core = RecordingCore()
    channel = make_channel(core, maxMessageLength=3, **ACKS)
    async with running(channel) as address, connected(address) as (reader, writer):
        writer.write(b"\x02one\x03\x02four\x03\x02two\x03\x02six\x03")
        one, two, six = await core.accepted(3)
        # the core refuses at once what it has no room for, and commits later
        channel.refused([two], REFUSAL)
        channel.committed([six])
        channel.committed([one])
        assert await reader.readexactly(4) == b"\x06\x15\x15\x06"
    assert channel.notices == {"message too long": 1}


async def test_a_refused_message_is_answered_at_once_if_it_is_its_turn() -> None:
    core = RecordingCore()
    channel = make_channel(core, max_body_bytes=10, **ACKS)
    async with running(channel) as address, connected(address) as (reader, writer):
        writer.write(b"\x02four\x03")
        assert await reader.readexactly(1) == b"\x15"
        writer.write(b"\x02one\x03")
        channel.committed(await core.accepted(1))
        assert await reader.readexactly(1) == b"\x06"


async def test_without_ack_bytes_the_device_hears_only_the_server() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as (reader, writer):
        writer.write(b"\x02a\x03\x02b\x03")
        first, second = await core.accepted(2)
        channel.committed([first])
        channel.refused([second], REFUSAL)
        channel.answer([(first, Answer(True, "0241"))])
        assert await reader.readexactly(2) == b"\x02A"


async def test_what_the_server_cannot_take_is_never_handed_over() -> None:
    core = RecordingCore()
    channel = make_channel(core, max_body_bytes=101, maxMessageLength=1_000_000)
    async with running(channel) as address, connected(address) as (_, writer):
        writer.write(b"\x02" + b"x" * 48 + b"\x03\x02" + b"y" * 49 + b"\x03\x02z\x03")
        longest, last = await core.accepted(2)
        assert len(channel.forward(longest)) == 100
        assert last.body == b"\x02z\x03"


async def test_a_frame_is_not_joined_with_the_next_one() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as (_, writer):
        writer.write(b"\x02ha")
        writer.write(b"lf\x02whole\x03")
        assert [message.body for message in await core.accepted(1)] == [b"\x02whole\x03"]
    assert channel.notices == {"frame without an end": 1}


async def test_other_parameters_come_into_force_on_open_connections() -> None:
    core = RecordingCore()
    channel = make_channel(core)
    async with running(channel) as address, connected(address) as (reader, writer):
        writer.write(b"\x02one\x03")
        await core.accepted(1)
        assert channel.reconfigure(config_of(maxMessageLength=3, **ACKS))
        writer.write(b"\x02four\x03\x02two\x03")
        channel.committed(await core.accepted(2))
        assert await reader.readexactly(3) == b"\x06\x15\x06"
        assert not channel.reconfigure(config_of(endChar="\x1c"))
        assert not channel.reconfigure(config_of(ackBytes="06"))
        channel.context.max_body_bytes = 8
        assert channel.reconfigure(replace(channel.config))
        assert channel.frame_limit == 4


async def test_it_does_not_listen_without_its_characters() -> None:
    channel = ByteStreamChannel(RecordingCore().context(ChannelConfig("monitor", "tcp", "127.0.0.1", 0, "")))
    with pytest.raises(ChannelError, match="startChar: required"):
        await channel.start()
    await channel.close()
