"""Sequence numbers with a real queue behind the channel, and what goes wrong between the two."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from medagent.channel import Resynchronizable
from medagent.config.model import ChannelConfig, Value
from medagent.errors import ChannelError
from medagent.testing.mllp import MllpClient
from medagent.testing.queue import QueueWorld
from medagent.types import InboundMessage, State
from medagent_hl7 import plugin, sequence, verification
from medagent_hl7.server import Hl7Channel

Told = tuple[str, str, str]


def message(control_id: str, number: str = "", text: str = "one", sender: str = "LAB") -> bytes:
    return f"MSH|^~\\&|{sender}|N|EHR|M|20260105||ADT^A01|{control_id}|P|2.5.1|{number}\rPID|1||{text}\r".encode()


def query(control_id: str, number: str) -> bytes:
    return message(control_id, number).partition(b"PID")[0]


def batch(*messages: bytes) -> bytes:
    return b"BHS|^~\\&|LAB|N|EHR|M|20260105||||B1\r" + b"".join(messages) + b"BTS|\r"


class Site:
    """A listening channel on a real queue."""

    def __init__(self, world: QueueWorld, channel: Hl7Channel) -> None:
        self.world = world
        self.channel = channel

    def connect(self) -> contextlib.AbstractAsyncContextManager[Device]:
        return connected(self.channel)

    @property
    def frozen(self) -> list[str]:
        return [reason for reason in self.channel.reasons() if "frozen" in reason]

    async def links(self) -> list[tuple[str, int]]:
        """Registers on disk, without the links' keys."""
        registers = (await self.world.store.registers()).get("adt", {})
        return sorted((name.partition("-")[0], value) for name, value in registers.items())

    async def taken(self, control_id: str) -> None:
        """Wait until the store is asked to commit this message."""
        async with asyncio.timeout(10):
            while not any(control_id in ids for ids, _ in self.world.store.commits):
                await asyncio.sleep(0)

    async def buffered(self, count: int) -> None:
        """Wait until so many messages are neither acknowledged nor refused."""
        async with asyncio.timeout(10):
            while self.world.intake.buffered != count:
                await asyncio.sleep(0)

    async def begin_to_refuse(self, device: Device, control_id: str, number: str) -> None:
        """This message is on its way to the store, which will fail on it once its gate is opened."""
        self.world.store.gate.clear()
        self.refuse(control_id)
        await device.send(message(control_id, number))
        await self.taken(control_id)

    def refuse(self, *control_ids: str) -> None:
        """The store fails on these."""
        self.world.store.refuse = lambda messages, changes: any(each.control_id in control_ids for each in messages)


class Device:
    def __init__(self, client: MllpClient) -> None:
        self.client = client

    async def send(self, *bodies: bytes) -> None:
        await self.client.send(*bodies)

    async def told(self, count: int) -> list[Told]:
        """MSA-1, MSA-2 and MSA-4 of so many acknowledgments."""
        found: list[Told] = []
        while len(found) < count:
            for segment in (await self.client.receive()).split(b"\r"):
                if segment.startswith(b"MSA"):
                    fields = (segment.decode() + "|||").split("|")
                    found.append((fields[1], fields[2], fields[4]))
        return found

    async def exchange(self, *bodies: bytes) -> list[Told]:
        await self.send(*bodies)
        return await self.told(sum(body.count(b"MSH|") for body in bodies))


@contextlib.asynccontextmanager
async def connected(channel: Hl7Channel) -> AsyncIterator[Device]:
    host, _, port = channel.address.rpartition(":")
    async with await MllpClient.connect(host, int(port)) as client:
        yield Device(client)


@contextlib.asynccontextmanager
async def listening(folder: Path, **parameters: Value) -> AsyncIterator[Site]:
    factories: dict[str, Callable[..., Hl7Channel]] = {}
    plugin.medagent_register_channel_types(factories.__setitem__)
    chosen: dict[str, Value] = {"enhanced": "true", "verifySeqNo": True, **parameters}
    async with QueueWorld(folder) as world:
        channel = await world.listen(factories["mllp"], ChannelConfig("adt", "mllp", "127.0.0.1", 0, "", parameters=chosen))
        assert isinstance(channel, Hl7Channel)
        yield Site(world, channel)


async def test_reads_in_flight_that_are_all_refused_are_sent_again(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message("c4", "4"))
        site.world.store.gate.clear()
        site.refuse("c5", "c6", "c7")
        for number, control_id in enumerate(("c5", "c6", "c7"), 1):
            await device.send(message(control_id, str(number + 4)))
            await site.buffered(number)
        site.world.store.gate.set()
        assert await device.told(3) == [("CE", "c5", ""), ("CE", "c6", ""), ("CE", "c7", "")]
        site.refuse()
        # one out of turn is told to wait, and nothing of it is stored
        assert await device.exchange(message("c7", "7")) == [("CE", "c7", "")]
        assert [code for code, _, _ in await device.exchange(*(message(f"c{n}", str(n)) for n in (5, 6, 7)))] == ["CA"] * 3
        assert await site.links() == [("link", 8), ("links", 1)]
        assert site.frozen == []


async def test_a_later_read_does_not_pass_one_that_was_refused(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message("c4", "4"))
        await site.begin_to_refuse(device, "c5", "5")
        await device.send(message("c6", "6"))
        await site.buffered(2)
        site.world.store.gate.set()
        assert await device.told(2) == [("CE", "c5", ""), ("CE", "c6", "")]
        site.refuse()
        assert await device.exchange(message("c5", "5"), message("c6", "6")) == [("CA", "c5", ""), ("CA", "c6", "")]
        assert await device.exchange(message("c7", "7")) == [("CA", "c7", "")]
    async with listening(tmp_path) as site, site.connect() as device:
        assert await site.world.states() == {State.RECEIVED: 4}
        assert await device.exchange(query("q", "0")) == [("CA", "q", "8")]


async def test_a_rejected_control_id_leaves_its_number_to_another_message(tmp_path: Path) -> None:
    async with listening(tmp_path, duplicateBehavior="reject") as site, site.connect() as device:
        await device.exchange(message("x1", "1"))
        answers = await device.exchange(message("x1", "2", "other"), message("x3", "3"), message("x4", "4"))
        assert answers == [("CR", "x1", ""), ("CR", "x3", "2"), ("CR", "x4", "2")]
        assert await device.exchange(query("q", "0"), message("x2", "2")) == [("CA", "q", "2"), ("CA", "x2", "")]
        assert await site.world.states() == {State.RECEIVED: 2}


@pytest.mark.parametrize("control_id", ["", "k"])
async def test_a_number_is_accepted_once(tmp_path: Path, control_id: str) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message(control_id, "1"))
        assert await device.exchange(message(control_id, "1", "other")) == [("CR", control_id, "2")]
        assert await site.world.states() == {State.RECEIVED: 1}


async def test_a_release_holds_whatever_was_in_flight_before_it(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message("c4", "4"))
        await site.begin_to_refuse(device, "c5", "5")
        await device.send(message("c3", "3"))
        await site.buffered(2)
        # the link is not frozen yet: it will be when the release is committed
        release = asyncio.ensure_future(site.channel.resync(20, ""))
        await site.buffered(3)
        site.world.store.gate.set()
        await release
        assert await device.told(2) == [("CE", "c5", ""), ("CR", "c3", "5")]
        assert site.frozen == []
        assert await device.exchange(message("c20", "20")) == [("CA", "c20", "")]


async def test_a_release_is_reported_when_it_is_on_disk(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        assert isinstance(site.channel, Resynchronizable)
        await device.exchange(message("c4", "4"), message("c9", "9"))
        site.world.store.refuse = lambda messages, changes: True
        with pytest.raises(ChannelError, match="could not be written"):
            await site.channel.resync(9, "")
        assert len(site.frozen) == 1
        site.refuse()
        await site.channel.resync(9, "")
        assert site.frozen == []
        with pytest.raises(ChannelError, match="no frozen link"):
            await site.channel.resync(9, "")


async def test_a_sender_that_asks_is_told_what_is_on_disk(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message("c4", "4"))
        await site.begin_to_refuse(device, "c5", "5")
        await device.send(message("c9", "9"))
        await site.buffered(2)
        site.world.store.gate.set()
        assert await device.told(2) == [("CE", "c5", ""), ("CE", "c9", "")]
    async with listening(tmp_path) as site, site.connect() as device:
        assert site.frozen == []
        assert await device.exchange(query("q", "0")) == [("CA", "q", "5")]


async def test_a_copy_of_one_that_was_refused_in_flight_takes_its_number(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message("c4", "4"))
        failing = 2

        def refuse_twice(messages: object, changes: object) -> bool:
            nonlocal failing
            failing -= 1
            return failing >= 0

        site.world.store.refuse = refuse_twice
        site.world.store.gate.clear()
        await device.send(message("c5", "5"))
        await site.taken("c5")
        await device.send(message("c5", "5"))
        await site.buffered(2)
        site.world.store.gate.set()
        assert await device.told(2) == [("CE", "c5", ""), ("CA", "c5", "")]
        assert await device.exchange(message("c6", "6")) == [("CA", "c6", "")]


async def test_a_retransmission_is_none_the_less_with_every_message_new(tmp_path: Path) -> None:
    async with listening(tmp_path, duplicateBehavior="accept") as site, site.connect() as device:
        for _ in range(3):
            assert await device.exchange(message("c5", "5")) == [("CA", "c5", "")]
        assert await site.world.states() == {State.RECEIVED: 1}
        await device.exchange(message("u"))
        await device.exchange(message("u"))
        assert await site.world.states() == {State.RECEIVED: 3}, "one without a number is new"


@pytest.mark.parametrize("frozen", [False, True])
async def test_all_of_a_read_or_a_batch_again_is_a_retransmission(tmp_path: Path, frozen: bool) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        read = [message(f"r{number}", str(number)) for number in (1, 2, 3)]
        whole = batch(message("b1", "1", sender="PACS"), message("b2", "2", sender="PACS"))
        for _ in range(2):
            assert [code for code, _, _ in await device.exchange(*read)] == ["CA"] * 3
            assert [code for code, _, _ in await device.exchange(whole)] == ["CA"] * 2
            if frozen and not site.frozen:
                await device.exchange(message("g1", "99"), message("g2", "99", sender="PACS"))
        assert len(site.frozen) == (2 if frozen else 0)
        assert await site.world.states() == {State.RECEIVED: 5}


async def test_a_message_the_server_refused_is_tried_again_under_its_number(tmp_path: Path) -> None:
    async with listening(tmp_path, appLevelAck="NE") as site, site.connect() as device:
        site.world.uplink.connect()
        await device.exchange(message("c1", "1"))
        await site.world.sent(1)
        site.world.uplink.answer(site.world.uplink.transmitted[0], status_code=400, body="no")
        assert await site.world.states() == {State.REJECTED: 1}
        assert await device.exchange(message("c1", "1"), message("c2", "2")) == [("CA", "c1", ""), ("CA", "c2", "")]
        assert await site.links() == [("link", 3), ("links", 1)]


async def test_a_batch_takes_all_its_numbers_or_none(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        answers = await device.exchange(batch(message("1", "1"), message("2", "1", sender="PACS"), message("3", "2")))
        assert [code for code, _, _ in answers] == ["CA"] * 3
        answers = await device.exchange(batch(message("5", "3"), message("6", "7", sender="PACS"), message("7", "4")))
        assert answers == [("CR", "5", ""), ("CR", "6", "2"), ("CR", "7", "")]
        assert len(site.frozen) == 1
        assert "2 is expected" in site.frozen[0]
        answers = await device.exchange(batch(message("5", "3"), message("7", "4")))
        assert [code for code, _, _ in answers] == ["CA"] * 2
        # the same number twice, then a used one: neither is half stored
        answers = await device.exchange(batch(message("8", "5"), message("9", "5", "other")))
        assert answers == [("CR", "8", ""), ("CR", "9", "5")]
        await device.exchange(query("q", "0"))
        assert [code for code, _, _ in await device.exchange(message("8", "5"))] == ["CA"]
        assert await site.links() == [("frozen", 0), ("frozen", 1), ("link", 2), ("link", 6), ("links", 2)]


async def test_a_rejected_control_id_refuses_a_numbered_batch_as_a_whole(tmp_path: Path) -> None:
    async with listening(tmp_path, duplicateBehavior="reject") as site, site.connect() as device:
        await device.exchange(message("x1", "1"))
        answers = await device.exchange(batch(message("x2", "2"), message("x1", "3", "other"), message("x4", "4")))
        assert [code for code, _, _ in answers] == ["CR"] * 3
        assert await site.world.states() == {State.RECEIVED: 1}
        answers = await device.exchange(batch(message("x2", "2"), message("x3", "3"), message("x4", "4")))
        assert [code for code, _, _ in answers] == ["CA"] * 3


async def test_a_batch_after_a_failure_waits_as_a_whole(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(message("c4", "4"))
        site.refuse("c5")
        await device.exchange(message("c5", "5"))
        site.refuse()
        assert [code for code, _, _ in await device.exchange(batch(message("c6", "6"), message("c7", "7")))] == ["CE"] * 2
        answers = await device.exchange(message("c5", "5"), batch(message("c6", "6"), message("c7", "7")))
        assert [code for code, _, _ in answers] == ["CA"] * 3


async def test_senders_cannot_make_memory_or_registers_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        await device.exchange(*(message(f"i{number}", "abc", sender=f"s{number}") for number in range(200)))
        assert await site.links() == []
        assert site.frozen == []
        long = "x" * 100_000
        await device.exchange(message("l1", "1", sender=f"{long}1"), message("l2", "2", sender=f"{long}2"))
        assert await site.links() == [("link", 3), ("links", 1)], "one link: only the beginning of a name counts"
        monkeypatch.setattr(verification, "MOST_LINKS", 2)
        answers = await device.exchange(*(message(f"n{number}", "1", sender=f"n{number}") for number in range(3)))
        assert answers == [("CA", "n0", ""), ("CR", "n1", ""), ("CR", "n2", "")]
        assert await site.links() == [("link", 2), ("link", 3), ("links", 2)]
    assert sequence.MOST_LINKS == 10_000


async def test_the_status_names_some_frozen_links_and_counts_the_others(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        for number in range(23):
            await device.exchange(*(message(f"{number}-{n}", n, sender=f"s{number}") for n in ("1", "9")))
        assert len(site.channel.reasons()) == 21
        assert site.channel.reasons()[-1] == "and 3 more links are frozen"


async def test_answers_leave_in_the_order_of_the_messages(tmp_path: Path) -> None:
    async with listening(tmp_path) as site, site.connect() as device:
        answers = await device.exchange(
            message("A", "1"), message("B", "5"), query("C", "0"), message("A", "1"), message("D", "2")
        )
        assert answers == [("CA", "A", ""), ("CR", "B", "2"), ("CA", "C", "2"), ("CA", "A", ""), ("CA", "D", "")]
        stored: list[InboundMessage] = await site.world.store.fetch("adt", 0, 10, 10**6)
        assert [each.control_id for each in stored] == ["A", "D"]
