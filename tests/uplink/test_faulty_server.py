"""The uplink and servers that send what nobody may, nothing at all, or very slowly: over real sockets, on the test's time."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import TEXT, Frame

from medagent.testing.uplink import UplinkWorld, answer_to, messages, port_of
from medagent.uplink.session import MAX_SILENCE
from medagent.uplink.websocket import VERSION

TIMEOUT = 20.0


@pytest.fixture
async def world() -> AsyncIterator[UplinkWorld]:
    """Its server compresses."""
    world = UplinkWorld()
    async with asyncio.timeout(TIMEOUT), serve(world.server, "127.0.0.1", 0, max_size=None) as server:
        world.server.base_url = f"http://127.0.0.1:{port_of(server)}/"
        yield world
        await world.stop()


def write(connection: ServerConnection, data: bytes) -> None:
    """These bytes as they are, past the library."""
    connection.transport.write(data)


async def test_compression_is_agreed_on_and_works_both_ways(world: UplinkWorld) -> None:
    uplink = await world.connected()
    assert uplink.transmit(messages(50, size=5000)) == 50
    await world.core.until(lambda: sum(map(len, world.core.batches)) == 50)
    request, response = world.server.latest.request, world.server.latest.response
    assert request is not None
    assert response is not None
    assert "permessage-deflate" in request.headers["Sec-WebSocket-Extensions"]
    assert "permessage-deflate" in response.headers["Sec-WebSocket-Extensions"]
    assert world.server.frames[-1]["body"] == messages(50, size=5000)[-1].body


def bomb() -> bytes:
    """A message of 20 MB that is 20 kB long on the wire."""
    compressor = zlib.compressobj(wbits=-12)
    data = (compressor.compress(bytes(20_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    plain = Frame(TEXT, data).serialize(mask=False)
    return bytes([plain[0] | 0x40]) + plain[1:]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x81\x02\xc3\x28", "text that is not UTF-8, at byte 0"),
        (b"\x91\x00", "reserved bits must be 0"),
        (b"\x83\x00", "invalid opcode"),
        (b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), f"frame with {1 << 40} bytes exceeds limit of 1000000 bytes"),
        (bomb(), "frame exceeds limit of 1000000 bytes"),
    ],
    ids=["text", "bits", "opcode", "size", "bomb"],
)
async def test_what_cannot_be_taken_ends_the_connection_and_the_next_tries_come_ever_later(
    world: UplinkWorld, data: bytes, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("medagent.uplink.websocket.MAX_FRAME_BYTES", 1_000_000)

    async def faulty(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        write(connection, data)
        await connection.wait_closed()

    world.server.every = faulty
    world.start()
    await world.core.until(lambda: len(world.delays) == 6)
    assert world.delays[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    world.server.every = world.server.well
    logged = [record.getMessage() for record in caplog.records if record.name == "medagent.uplink.websocket"]
    errors = [line for line in logged if "error" in line]
    assert errors
    assert all(f"error: the server sent what cannot be taken: {reason};" in line for line in errors)
    served = len(world.core.calls)
    await world.core.until(lambda: len(world.core.calls) > served and world.core.calls[-1] == "connected")
    assert world.uplink.transmit(messages(1)) == 1
    await world.core.until(lambda: world.core.batches)


async def test_a_server_that_refuses_every_token_is_asked_ever_less_often(world: UplinkWorld) -> None:
    async def refuse(connection: ServerConnection) -> None:
        await world.server.receive(connection)
        await connection.send('{"type":"agent:error","body":"Invalid access token"}')
        await connection.wait_closed()

    world.server.every = refuse
    world.start()
    await world.core.until(lambda: len(world.delays) == 8)
    assert world.delays[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    tokens = [frame["accessToken"] for frame in world.server.frames[:8]]
    assert tokens == [f"token-{number}" for number in range(1, 9)], "one new token for each refusal"


async def silence(world: UplinkWorld) -> float:
    """Let time pass until the uplink gives its connection up; how long that took, seconds."""
    begun, lost = world.now, world.core.calls.count("disconnected")
    while world.core.calls.count("disconnected") == lost:
        world.now += 0.5
        assert world.now - begun < 100
        await world.ticked()
    return world.now - begun


@pytest.mark.parametrize("load", [0, 100], ids=["idle", "with a full buffer"])
async def test_a_black_hole_is_left_within_two_heartbeats(
    world: UplinkWorld, load: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medagent.uplink.link.CLOSE_TIMEOUT", 0.05)
    frozen = asyncio.Event()

    async def swallow(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        connection.transport.pause_reading()
        frozen.set()
        await asyncio.Event().wait()

    world.server.scripts = [swallow]
    uplink = await world.connected()
    await frozen.wait()
    hole = world.server.latest
    taken = uplink.transmit(messages(load, size=256 * 1024)) if load else 0
    assert taken < load or not load
    assert MAX_SILENCE <= await silence(world) <= MAX_SILENCE + 3.0
    await world.core.until(lambda: world.core.calls.count("connected") == 2)
    hole.transport.abort()


async def test_the_servers_own_heartbeats_are_answered_and_enough(world: UplinkWorld) -> None:
    async def only_asks(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        await world.server.listen_only(connection)

    world.server.every = only_asks
    await world.connected()
    for round_ in range(1, 8):
        world.now += 9.0
        await world.server.latest.send('{"type":"agent:heartbeat:request"}')
        answers = await world.server.heard("agent:heartbeat:response", round_)
        assert answers[-1]["version"] == VERSION
        await world.ticked()
    assert await world.server.heard("agent:heartbeat:request", 3)
    assert world.server.connects == 1


async def test_a_message_that_takes_longer_than_two_heartbeats_arrives(world: UplinkWorld) -> None:
    async def slow(connection: ServerConnection) -> None:
        await world.server.accept(connection)
        answer = answer_to(await world.server.receive(connection)) | {"body": "MSA|AA|" + "x" * 100_000}
        data = Frame(TEXT, json.dumps(answer).encode()).serialize(mask=False)
        for start in range(0, len(data), len(data) // 10):
            write(connection, data[start : start + len(data) // 10])
            await world.ticked()
            world.now += 9.0
            await world.ticked()
        await connection.wait_closed()

    world.server.every = slow
    uplink = await world.connected()
    uplink.transmit(messages(1))
    await world.core.until(lambda: world.core.batches or "disconnected" in world.core.calls)
    assert "disconnected" not in world.core.calls
    assert len(world.core.batches[0][0].body) > 100_000
