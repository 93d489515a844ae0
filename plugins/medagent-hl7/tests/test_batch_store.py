"""Batches with a real queue behind the channel: every answer finds its place, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.mllp import MllpClient
from medagent.testing.queue import QueueWorld
from medagent.types import State
from medagent_hl7 import plugin
from medagent_hl7.server import Hl7Channel


def message(control_id: str, text: str = "one") -> bytes:
    return f"MSH|^~\\&|LAB|N|EHR|M|20260105||ADT^A01|{control_id}|P|2.5.1\rPID|1||{text}\r".encode()


def batch(*messages: bytes) -> bytes:
    return b"BHS|^~\\&|LAB|N|EHR|M|20260105||||B1\r" + b"".join(messages) + b"BTS|\r"


def codes(frame: bytes) -> list[str]:
    return [segment.split(b"|")[1].decode() for segment in frame.split(b"\r") if segment.startswith(b"MSA")]


class Site:
    def __init__(self, world: QueueWorld, channel: Hl7Channel) -> None:
        self.world = world
        self.channel = channel

    async def connect(self) -> MllpClient:
        host, _, port = self.channel.address.rpartition(":")
        return await MllpClient.connect(host, int(port))

    async def answer(self, count: int, *, newest_first: bool = False) -> None:
        """The server answers what was sent last: AA to the text `one`, AE to the others."""
        await self.world.sent(count)
        for sent in self.world.uplink.transmitted[-count:][:: -1 if newest_first else 1]:
            code = "AA" if "||one" in sent.body else "AE"
            acknowledgment = f"MSH|^~\\&|EHR|M|LAB|N|20260105||ACK|9|P|2.5.1\rMSA|{code}|{sent.body.split('|')[9]}"
            self.world.uplink.answer(sent, body=acknowledgment)

    @property
    def waiting(self) -> bool:
        batches = self.channel._tracking.batches
        return batches.waiting or bool(batches._places)


@contextlib.asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Site]:
    factories: dict[str, Callable[..., Hl7Channel]] = {}
    plugin.medagent_register_channel_types(factories.__setitem__)
    parameters: dict[str, Value] = {"enhanced": "true", "batchAck": "batch"}
    async with QueueWorld(folder) as world:
        channel = await world.listen(factories["mllp"], ChannelConfig("adt", "mllp", "127.0.0.1", 0, "", parameters=parameters))
        assert isinstance(channel, Hl7Channel)
        yield Site(world, channel)


@pytest.mark.parametrize("ids", [("d", "d", "e"), ("", "", "e")])
async def test_messages_read_back_from_disk_have_their_own_places(tmp_path: Path, ids: tuple[str, str, str]) -> None:
    async with listening(tmp_path) as site, await site.connect() as device:
        site.world.uplink.connect()
        await device.send(batch(message(ids[0]), message(ids[1], "two"), message(ids[2])))
        assert codes(await device.receive()) == ["CA"] * 3
        await site.world.sent(3)
        site.world.uplink.disconnect()
        site.world.uplink.transmitted.clear()
        site.world.uplink.connect()
        await site.answer(3, newest_first=True)
        assert codes(await device.receive()) == ["AA", "AE", "AA"]
        assert not site.waiting


async def test_a_single_message_with_the_control_id_of_a_part_is_answered_by_itself(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, await site.connect() as device:
        await device.send(message("d", "two"))
        assert codes(await device.receive()) == ["CA"]
        await device.send(batch(message("d"), message("e")))
        assert codes(await device.receive()) == ["CA", "CA"]
        site.world.uplink.connect()
        await site.world.sent(3)
        site.world.uplink.disconnect()
        site.world.uplink.transmitted.clear()
        site.world.uplink.connect()
        await site.answer(3)
        assert sorted([codes(await device.receive()), codes(await device.receive())]) == [["AA", "AA"], ["AE"]]
        assert not site.waiting


@pytest.mark.parametrize("same_connection", [True, False])
async def test_a_batch_sent_again_in_flight_leaves_nothing(tmp_path: Path, same_connection: bool) -> None:
    async with listening(tmp_path) as site, await site.connect() as first, await site.connect() as second:
        newest = first if same_connection else second
        body = batch(message("d"), message("f"))
        for device in (first, newest, newest):
            await device.send(body)
            assert codes(await device.receive()) == ["CA", "CA"]
        site.world.uplink.connect()
        await site.answer(2)
        for _ in range(3 if same_connection else 2):
            assert codes(await newest.receive()) == ["AA", "AA"]
        assert not site.waiting
        assert await site.world.states() == {State.RESPONSE_SENT: 2}


async def test_a_device_that_hangs_up_before_the_commit_leaves_nothing(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, await site.connect() as device:
        site.world.store.gate.clear()
        await device.send(batch(message("d"), message("f")))
        async with asyncio.timeout(10):
            while not site.world.intake.buffered:
                await asyncio.sleep(0)
            device.reset()
            while site.channel.connections:
                await asyncio.sleep(0)
        site.world.store.gate.set()
        await site.world.strategy.flush()
        assert not site.waiting
        site.world.uplink.connect()
        await site.answer(2)
        assert await site.world.states() == {State.RESPONSE_UNDELIVERED: 2}
