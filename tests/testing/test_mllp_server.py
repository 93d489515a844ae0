"""The MLLP receiver for tests."""

from __future__ import annotations

import pytest

from medagent.testing.mllp import MllpClient
from medagent.testing.mllp_server import MllpServer, acknowledge

BODY = b"MSH|^~\\&|A|B|C|D|20260302||ADT^A01|M1|P|2.5\rPID|1\r"


async def test_notes_what_comes_and_answers_it_however_it_is_cut() -> None:
    async with MllpServer() as server, await MllpClient.connect("127.0.0.1", server.port) as client:
        await client.send_half(BODY)
        await client.send_rest(BODY)
        await client.send(BODY, BODY)
        answers = [await client.receive() for _ in range(3)]
        await server.wait_for(3)
        assert server.received == [BODY] * 3
    assert all(b"\rMSA|AA|M1\r" in answer for answer in answers)


async def test_answers_as_told_and_without_being_asked() -> None:
    async with MllpServer() as server, await MllpClient.connect("127.0.0.1", server.port) as client:
        server.respond = lambda body: acknowledge(body, "CA", "AE")
        await client.send(BODY)
        assert b"MSA|CA" in await client.receive()
        assert b"MSA|AE" in await client.receive()
        server.connections[0].send(b"more")
        assert await client.receive() == b"more"


async def test_closes_when_told() -> None:
    async with MllpServer(lambda body: None) as server, await MllpClient.connect("127.0.0.1", server.port) as client:
        await client.send(BODY)
        assert await client.closed() == b""


async def test_waits_no_longer_than_asked() -> None:
    async with MllpServer() as server:
        with pytest.raises(TimeoutError):
            await server.wait_for(1, timeout=0.01)
