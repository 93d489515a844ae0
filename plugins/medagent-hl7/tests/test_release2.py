"""MLLP release 2: what the sender does with commit acknowledgment blocks, and without them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent_hl7.answers import ConnectionLost, Expect, NotCommitted
from medagent_hl7.client import Client, Remote
from medagent_hl7.release2 import MAX_ATTEMPTS

ACK, NAK = b"\x06", b"\x15"
SHORT = 0.05
"""Seconds, for what is meant to time out."""


def message(control_id: str = "M1") -> bytes:
    return rf"MSH|^~\&|SENDER|NORTH|RECEIVER|SOUTH|20260302||ADT^A01|{control_id}|P|2.5".encode() + b"\rPID|1\r"


class Receiver(MllpServer):
    """Answers messages by a script of blocks, one reply a message, and 0x06 followed by AA when the script is at its end."""

    def __init__(self, *script: Iterable[bytes]) -> None:
        super().__init__(self._reply)
        self._script = list(script)

    def _reply(self, body: bytes) -> Iterable[bytes]:
        if body in (ACK, NAK):
            return []
        return self._script.pop(0) if self._script else [ACK, *acknowledge(body, "AA")]

    @property
    def messages(self) -> list[bytes]:
        return [body for body in self.received if body not in (ACK, NAK)]

    async def connect(self) -> Client:
        return await Client.connect(Remote("127.0.0.1", self.port, release=2))


async def test_a_message_is_sent_when_the_block_and_the_acknowledgment_have_come() -> None:
    async with Receiver() as server, await server.connect() as client:
        [answer] = await client.send(message())
        assert answer.code == "AA"
        await server.wait_for(2)
        assert server.received == [message(), ACK]  # the AA is a block, and gets its own 0x06


async def test_the_block_alone_is_enough_where_nothing_of_hl7_is_due() -> None:
    async with Receiver([ACK]) as server, await server.connect() as client:
        assert await client.send(message(), Expect.NONE) == []
        assert server.received == [message()]


async def test_the_next_message_waits_for_the_block_of_the_one_before_it() -> None:
    async with Receiver([], [], []) as server, await server.connect() as client:
        waiting = [asyncio.ensure_future(client.send(message(control_id), Expect.NONE)) for control_id in ("M1", "M2")]
        await server.wait_for(1)
        server.connections[0].send(ACK)
        await waiting[0]
        await server.wait_for(2)
        assert server.received == [message("M1"), message("M2")]
        server.connections[0].send(ACK)
        await waiting[1]


async def test_a_refused_message_is_sent_again() -> None:
    async with Receiver([NAK], [NAK]) as server, await server.connect() as client:
        assert [answer.code for answer in await client.send(message())] == ["AA"]
        assert server.messages == [message()] * 3
        assert client.usable


async def test_a_message_refused_each_time_is_reported() -> None:
    async with Receiver(*[[NAK]] * MAX_ATTEMPTS) as server, await server.connect() as client:
        with pytest.raises(NotCommitted, match="refused by 0x15, 3 attempts"):
            await client.send(message())
        assert server.messages == [message()] * MAX_ATTEMPTS
        assert [answer.code for answer in await client.send(message("M2"))] == ["AA"]


async def test_a_message_without_a_block_is_sent_again_and_the_connection_is_not_used_for_another() -> None:
    async with Receiver([]) as server, await server.connect() as client:
        assert [answer.code for answer in await client.send(message(), timeout=SHORT)] == ["AA"]
        assert server.messages == [message()] * 2
        # a block for the first writing, if it comes now, would seem to be that of the next message
        assert not client.usable
        with pytest.raises(ConnectionLost, match="out of step"):
            await client.send(message("M2"))
        assert len(server.messages) == 2


async def test_a_message_without_any_block_is_reported() -> None:
    async with Receiver(*[[]] * MAX_ATTEMPTS) as server, await server.connect() as client:
        with pytest.raises(NotCommitted, match="not known to be stored") as caught:
            await client.send(message(), timeout=SHORT)
        assert str(caught.value).endswith("block within 0.05 s in 3 attempts; does the receiver speak MLLP release 2?")
        assert client.block == b""
        assert server.messages == [message()] * MAX_ATTEMPTS


async def test_a_receiver_that_has_sent_blocks_before_is_not_asked_whether_it_speaks_release_2() -> None:
    async with Receiver([ACK], [NAK], [], []) as server, await server.connect() as client:
        await client.send(message(), Expect.NONE)
        assert client.block == ACK
        with pytest.raises(NotCommitted, match=r"not known to be stored: .* in 3 attempts$"):
            await client.send(message("M2"), timeout=SHORT)


async def test_an_hl7_acknowledgment_is_no_commit_block() -> None:
    aa = acknowledge(message(), "AA")
    async with Receiver(aa, aa, aa) as server, await server.connect() as client:
        with pytest.raises(NotCommitted) as caught:
            await client.send(message(), timeout=SHORT)
        assert [answer.code for answer in caught.value.answers] == ["AA"], "one of a kind is kept"


async def test_what_is_no_acknowledgment_is_refused_by_0x15() -> None:
    async with Receiver([ACK, message("THEIRS")]) as server, await server.connect() as client:
        await client.send(message(), Expect.NONE)
        await server.wait_for(2)
        assert server.received == [message(), NAK]


@pytest.mark.parametrize("blocks", [[ACK, ACK], [ACK, NAK]])
async def test_a_block_too_many_puts_the_connection_out_of_step(blocks: list[bytes]) -> None:
    async with Receiver([*blocks, *acknowledge(message(), "AA")]) as server, await server.connect() as client:
        assert [answer.code for answer in await client.send(message())] == ["AA"]
        assert not client.usable


async def test_the_receiver_leaves_before_the_block() -> None:
    async with Receiver() as server, await server.connect() as client:
        server.respond = lambda body: None
        with pytest.raises(ConnectionLost):
            await client.send(message())


async def test_blocks_are_ignored_in_release_1() -> None:
    async with MllpServer(lambda body: [ACK, NAK, *acknowledge(body, "AA")]) as server:
        async with await Client.connect(Remote("127.0.0.1", server.port)) as client:
            assert [answer.code for answer in await client.send(message())] == ["AA"]
            assert client.unmatched == 0
        assert server.received == [message()]
