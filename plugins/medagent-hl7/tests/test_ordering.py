"""Acknowledgments leave in the order of what came in, whoever decides, and when."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medagent.config.model import ChannelConfig, Value
from medagent.queue.parts import with_parts
from medagent.testing.channel import RecordingCore, running
from medagent.testing.mllp import MllpClient, framed
from medagent.types import InboundMessage, Refusal, RefusalKind
from medagent_hl7.message import msa
from medagent_hl7.ordering import Order, Placed
from medagent_hl7.server import Hl7Channel

FULL = Refusal(RefusalKind.STORAGE, "The disk is full")
MAX_BODY = 20_000


def message(control_id: str, message_type: str = "ADT^A01") -> bytes:
    return f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||{message_type}|{control_id}|P|2.5.1\rPID|1\r".encode()


@given(st.data())
def test_any_decisions_in_any_order_give_the_frames_in_order(data: st.DataObject) -> None:
    order = Order()
    waiting: list[tuple[InboundMessage, bytes]] = []
    expected: list[bytes] = []
    sent: list[bytes] = []
    for _ in range(data.draw(st.integers(1, 5))):
        # one read: True for a message, False for a frame that refuses something
        messages: list[InboundMessage] = []
        frames: list[Placed] = []
        for is_message in data.draw(st.lists(st.booleans(), max_size=6)):
            expected.append(b"%d" % len(expected))
            if is_message:
                messages.append(InboundMessage(b"", "", ""))
                waiting.append((messages[-1], expected[-1]))
            else:
                frames.append((len(messages), expected[-1]))
        order.add(messages, frames)
        sent += order.due()
        for _ in range(data.draw(st.integers(0, len(waiting)))):
            sent += order.decide([waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))])
    for each in waiting:
        assert order.owes
        sent += order.decide([each])
    assert sent == expected
    assert not order.owes


def test_what_stands_for_its_parts_is_decided_part_by_part() -> None:
    parts = (InboundMessage(b"", "1", ""), InboundMessage(b"", "2", ""))
    alone = InboundMessage(b"", "3", "")
    assert with_parts([InboundMessage(None, "", "", parts=parts), alone]) == [*parts, alone]


def test_what_was_never_in_the_line_goes_out_at_once() -> None:
    order = Order()
    first, second = InboundMessage(b"", "1", ""), InboundMessage(b"", "2", "")
    order.add([first, second])
    assert order.decide([(InboundMessage(b"", "3", ""), b"other")]) == [b"other"]
    assert order.decide([(second, b"2"), (first, b"1"), (first, b"again")]) == [b"1", b"2", b"again"]
    assert not order.owes


class Site:
    """A channel, and a device on it."""

    def __init__(self, channel: Hl7Channel, core: RecordingCore, device: MllpClient) -> None:
        self.channel = channel
        self.core = core
        self.device = device

    async def receive(self, count: int) -> list[tuple[str, str] | None]:
        return [msa(await self.device.receive()) for _ in range(count)]


@contextlib.asynccontextmanager
async def site(**parameters: Value) -> AsyncIterator[Site]:
    core = RecordingCore()
    parameters = {"enhanced": "true", "missingControlId": "reject", **parameters}
    channel = Hl7Channel(
        core.context(ChannelConfig("lab", "mllp", "127.0.0.1", 0, "", parameters=parameters), max_body_bytes=MAX_BODY)
    )
    async with running(channel) as address, await MllpClient.connect(*address) as device:
        yield Site(channel, core, device)


async def test_refusals_of_the_channel_wait_for_what_came_before() -> None:
    async with site() as at:
        await at.device.send(message("1"), message(""), message("3"))
        messages = await at.core.accepted(2)
        at.channel.committed(messages)
        assert await at.receive(3) == [("CA", "1"), ("CR", ""), ("CA", "3")]


async def test_a_refusal_that_nothing_is_before_leaves_at_once() -> None:
    async with site() as at:
        await at.device.send(message(""), message("2"))
        assert await at.receive(1) == [("CR", "")]
        at.channel.committed(await at.core.accepted(1))
        assert await at.receive(1) == [("CA", "2")]


@pytest.mark.parametrize(
    ("bad", "answer"),
    [
        (framed(b"msh|^~\\&|LAB||||||ADT^A01|2|P|2.3\r"), ("CR", "2")),
        (framed(message("2") + b"x" * MAX_BODY), ("CR", "2")),
        (framed(b"BHS|^~\\&|LAB\r" + message("2") + message("")), ("CR", "2")),
    ],
    ids=["unreadable", "too long", "batch"],
)
async def test_so_do_other_refusals_and_a_failed_store_releases_them(bad: bytes, answer: tuple[str, str]) -> None:
    async with site() as at:
        await at.device.send_raw(framed(message("1")) + bad)
        messages = await at.core.accepted(1)
        # of another read, and of another connection: neither is held up by the first message
        async with await MllpClient.connect("127.0.0.1", int(at.channel.address.rpartition(":")[2])) as other:
            await other.send(message(""))
            assert msa(await other.receive()) == ("CR", "")
        at.channel.refused(messages, FULL)
        assert await at.receive(2) == [("CE", "1"), answer]


async def test_messages_decided_out_of_order_are_answered_in_order() -> None:
    async with site() as at:
        await at.device.send(message("1"), message("2"))
        first, second = await at.core.accepted(2)
        at.channel.committed([second])
        at.channel.refused([first], Refusal(RefusalKind.DUPLICATE, "used"))
        assert await at.receive(2) == [("CR", "1"), ("CA", "2")]


async def test_an_unexpected_sequence_number_does_not_overtake_what_came_before() -> None:
    async with site(verifySeqNo=True) as at:
        bodies = [
            message(control_id).replace(b"|P|2.5.1", b"|P|2.5.1|" + number) for control_id, number in (("1", b"1"), ("2", b"7"))
        ]
        await at.device.send(*bodies)
        first, second = await at.core.accepted(2)
        at.channel.refused([second], Refusal(RefusalKind.SEQUENCE, "not the expected one"))
        at.channel.committed([first])
        assert await at.receive(2) == [("CA", "1"), ("CR", "2")]
