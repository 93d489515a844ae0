"""Parameters that change while messages are in a real queue: on their way to it, in it, and read back from it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from medagent.config.model import ChannelConfig, Value
from medagent.testing.mllp import MllpClient
from medagent.testing.queue import QueueWorld
from medagent.types import State
from medagent_hl7.server import Hl7Channel

Told = tuple[str, str, str]


def message(control_id: str, number: str = "", name: str = "Muster") -> bytes:
    text = f"MSH|^~\\&|LAB|N|EHR|M|20260105||ADT^A01|{control_id}|P|2.5.1|{number}\rPID|1||4711||{name}\r"
    return text.encode("latin-1")


def config(parameters: dict[str, Value]) -> ChannelConfig:
    return ChannelConfig("adt", "mllp", "127.0.0.1", 0, "", parameters=parameters)


class Site:
    """A listening channel on a real queue, and a device."""

    def __init__(self, world: QueueWorld, channel: Hl7Channel, device: MllpClient) -> None:
        self.world = world
        self.channel = channel
        self.device = device

    def reconfigure(self, **parameters: Value) -> None:
        assert self.channel.reconfigure(config(parameters))

    async def told(self, count: int = 1) -> list[Told]:
        """MSA-1, MSA-2 and MSA-4 of so many acknowledgments."""
        segments = [(await self.device.receive()).split(b"\rMSA|")[1].partition(b"\r")[0] for _ in range(count)]
        return [(fields[0], fields[1], fields[3]) for fields in ((segment.decode() + "||").split("|") for segment in segments)]

    async def exchange(self, *bodies: bytes) -> list[Told]:
        await self.device.send(*bodies)
        return await self.told(len(bodies))

    async def on_its_way(self, body: bytes) -> None:
        """Read this message, and keep the store from committing it until its gate is opened."""
        self.world.store.gate.clear()
        before = self.world.intake.buffered
        await self.device.send(body)
        async with asyncio.timeout(10):
            while self.world.intake.buffered == before:
                await asyncio.sleep(0)

    def answer(self, control_id: str) -> None:
        """The server answers what it was sent last under this ID."""
        sent = [each for each in self.world.uplink.transmitted if each.body.split("|")[9] == control_id][-1]
        self.world.uplink.answer(sent, body=f"MSH|^~\\&|EHR|M|LAB|N|1||ACK|9|P|2.5.1\rMSA|AA|{control_id}|ü\r")

    @property
    def numbers(self) -> list[str]:
        """MSH-13 of what was sent to the server."""
        return [each.body.partition("\r")[0].split("|")[12] for each in self.world.uplink.transmitted]


@contextlib.asynccontextmanager
async def listening(folder: Path, **parameters: Value) -> AsyncIterator[Site]:
    async with QueueWorld(folder) as world:
        channel = await world.listen(Hl7Channel, config(parameters))
        assert isinstance(channel, Hl7Channel)
        world.uplink.connect()
        host, _, port = channel.address.rpartition(":")
        async with await MllpClient.connect(host, int(port)) as device:
            yield Site(world, channel, device)


async def test_what_is_read_back_from_disk_is_sent_and_answered_as_it_was_read(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true", encoding="ISO-8859-1") as site:
        assert await site.exchange(message("1", name="Müller")) == [("CA", "1", "")]
        await site.world.sent(1)
        site.reconfigure(enhanced="aa", invalidText="replace")
        assert await site.exchange(message("2", name="Müller")) == [("AA", "2", "")]
        await site.world.sent(2)
        site.world.uplink.disconnect()
        site.world.uplink.connect()
        await site.world.sent(4)
        assert ["Müller" in each.body for each in site.world.uplink.transmitted] == [True, False, True, False]
        site.answer("2")
        site.answer("1")
        assert b"MSA|AA|1|" + "ü".encode("latin-1") in await site.device.receive()


async def test_what_is_on_its_way_to_the_disk_is_acknowledged_as_it_was_read(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true") as site:
        await site.on_its_way(message("1"))
        site.reconfigure()
        await site.device.send(message("2"))
        site.world.store.gate.set()
        assert await site.told() == [("CA", "1", "")]
        await site.world.sent(2)
        site.answer("2")
        site.answer("1")
        assert await site.told(2) == [("AA", "2", ""), ("AA", "1", "")]


async def test_a_resend_after_the_change_is_answered_as_the_new_mode_says(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true", appLevelAck="NE") as site:
        assert await site.exchange(message("1")) == [("CA", "1", "")]
        await site.world.sent(1)
        site.reconfigure()
        await site.on_its_way(message("1"))
        site.world.store.gate.set()
        async with asyncio.timeout(10):
            while site.world.intake.buffered:
                await asyncio.sleep(0)
        site.answer("1")
        assert await site.told() == [("AA", "1", "")]
        assert len(site.world.uplink.transmitted) == 1


async def test_duplicates_go_by_the_new_behaviour(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true") as site:
        assert await site.exchange(message("1"), message("1", name="Other")) == [("CA", "1", "")] * 2
        site.reconfigure(enhanced="true", duplicateBehavior="reject")
        assert await site.exchange(message("1", name="Third"), message("1")) == [("CR", "1", ""), ("CA", "1", "")]
        site.reconfigure(enhanced="true", duplicateBehavior="accept")
        assert await site.exchange(message("1")) == [("CA", "1", "")]
        await site.world.sent(3)


async def test_numbers_go_on_where_they_ended(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true", assignSeqNo=True) as site:
        await site.exchange(message("1"), message("2"))
        await site.on_its_way(message("3"))
        site.reconfigure(enhanced="true")
        site.world.store.gate.set()
        await site.told()
        await site.exchange(message("4", "77"))
        site.reconfigure(enhanced="true", assignSeqNo=True)
        await site.exchange(message("5"))
        await site.world.sent(5)
        assert site.numbers == ["0", "1", "2", "77", "3"]


async def test_links_stand_where_verification_left_them(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true", verifySeqNo=True) as site:
        assert await site.exchange(message("1", "1")) == [("CA", "1", "")]
        # read while numbers are verified, decided when they are not any more
        await site.on_its_way(message("2", "2"))
        site.reconfigure(enhanced="true")
        site.world.store.gate.set()
        assert await site.told() == [("CA", "2", "")]
        assert await site.exchange(message("3", "9"), message("4")) == [("CA", "3", ""), ("CA", "4", "")]
        site.reconfigure(enhanced="true", verifySeqNo=True)
        assert await site.exchange(message("5", "3"), message("6", "5")) == [("CA", "5", ""), ("CR", "6", "4")]
        [reason] = [each for each in site.channel.reasons() if "frozen" in each]
        site.reconfigure(enhanced="true")
        assert site.channel.reasons() == [], "nothing is held back for it"
        assert await site.exchange(message("7", "5")) == [("CA", "7", "")]
        site.reconfigure(enhanced="true", verifySeqNo=True)
        assert site.channel.reasons() == [reason]
        await site.channel.resync(6, "")
        assert await site.exchange(message("8", "6")) == [("CA", "8", "")]


async def test_a_failure_of_the_store_is_forgotten_when_verification_begins_again(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true", verifySeqNo=True) as site:
        await site.exchange(message("1", "1"))
        site.world.store.refuse = lambda messages, changes: True
        assert await site.exchange(message("2", "2")) == [("CE", "2", "")]
        site.world.store.refuse = lambda messages, changes: False
        assert await site.exchange(message("3", "3")) == [("CE", "3", "")], "it waits for number 2"
        site.reconfigure(enhanced="true")
        site.reconfigure(enhanced="true", verifySeqNo=True)
        assert await site.exchange(message("3", "3")) == [("CR", "3", "2")], "as after a restart"


async def test_a_batch_read_before_is_answered_together(tmp_path: Path) -> None:
    async with listening(tmp_path, enhanced="true", batchAck="batch") as site:
        await site.device.send(b"BHS|^~\\&|LAB|N|EHR|M|20260105||||B1\r" + message("1") + message("2") + b"BTS|2\r")
        assert (await site.device.receive()).count(b"\rMSA|CA|") == 2
        await site.world.sent(2)
        site.answer("1")
        site.reconfigure(enhanced="aa")
        site.answer("2")
        assert (await site.device.receive()).count(b"\rMSA|AA|") == 2
        await site.world.committer.flush_changes()
        assert (await site.world.store.depths())["adt"].counts[State.RESPONSE_SENT] == 2
