"""Resends over another connection, while the first one has not been read to its end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from medagent.config.model import ChannelConfig
from medagent.testing.mllp import MllpClient
from medagent.testing.queue import QueueWorld
from medagent.types import State
from medagent_hl7.message import msa_code
from medagent_hl7.server import Hl7Channel

MESSAGE = b"MSH|^~\\&|LAB|N|EHR|M|20260105||ADT^A01|1|P|2.5.1\rPID|1||4711\r"
PARAMETERS = {"enhanced": "true"}


@contextlib.asynccontextmanager
async def connected(world: QueueWorld, count: int) -> AsyncIterator[Sequence[MllpClient]]:
    """So many devices on one channel, connected in their order."""
    channel = await world.listen(Hl7Channel, ChannelConfig("adt", "mllp", "127.0.0.1", 0, "", parameters=PARAMETERS))
    host, _, port = channel.address.rpartition(":")
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await MllpClient.connect(host, int(port))) for _ in range(count)]


async def codes(device: MllpClient, count: int) -> list[str | None]:
    return [msa_code(await device.receive()) for _ in range(count)]


def answer(world: QueueWorld) -> None:
    [sent] = world.uplink.transmitted
    world.uplink.answer(sent, body="MSH|^~\\&|EHR|M|LAB|N|1||ACK|9|P|2.5.1\rMSA|AA|1\r")


async def test_what_an_older_connection_brings_late_does_not_take_the_answer(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world, connected(world, 2) as (older, younger):
        world.uplink.connect()
        await older.send_half(MESSAGE)
        await younger.send(MESSAGE)
        assert await codes(younger, 1) == ["CA"]
        await older.send_rest(MESSAGE)
        assert await codes(older, 1) == ["CA"]
        answer(world)
        assert await codes(younger, 1) == ["AA"]
        assert await world.states() == {State.RESPONSE_SENT: 1}


async def test_when_the_younger_one_has_gone_the_older_one_gets_the_answer(tmp_path: Path) -> None:
    async with QueueWorld(tmp_path) as world, connected(world, 2) as (older, younger):
        world.uplink.connect()
        await younger.send(MESSAGE)
        assert await codes(younger, 1) == ["CA"]
        await younger.close()
        # it has seen that the other one is closed when it reads this
        await older.send(MESSAGE.replace(b"|1|P", b"|0|P"))
        assert await codes(older, 1) == ["CA"]
        await older.send(MESSAGE)
        assert await codes(older, 1) == ["CA"]
        world.uplink.answer(world.uplink.transmitted[0], body="MSH|^~\\&|EHR|M|LAB|N|1||ACK|9|P|2.5.1\rMSA|AA|1\r")
        assert await codes(older, 1) == ["AA"]


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_a_device_that_comes_back_during_a_pause_gets_the_answer(tmp_path: Path, hangs_up: bool) -> None:
    async with QueueWorld(tmp_path) as world, connected(world, 2) as (older, younger):
        world.uplink.connect()
        world.brake.hold("test")
        await older.send(MESSAGE)
        if hangs_up:
            await older.close()
        await younger.send(MESSAGE)
        world.brake.release("test")
        assert await codes(younger, 1) == ["CA"]
        if not hangs_up:
            assert await codes(older, 1) == ["CA"]
        answer(world)
        assert await codes(younger, 1) == ["AA"]
