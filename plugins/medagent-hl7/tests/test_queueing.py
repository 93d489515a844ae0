"""A channel at a real queue: what an acknowledgment promises, and to whom the answer goes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.config.model import ChannelConfig, Value
from medagent.testing.mllp import MllpClient
from medagent.testing.queue import QueueWorld
from medagent.types import State
from medagent_hl7.message import msa
from medagent_hl7.server import Hl7Channel


def message(control_id: str, last: str = "PID|1||4711") -> bytes:
    return f"MSH|^~\\&|LAB|NORTH|EHR|MAIN|20260105||ADT^A01|{control_id}|P|2.5.1\r{last}\r".encode()


class Site(QueueWorld):
    """A queue with one listener, `adt`, and its devices."""

    def __init__(self, folder: Path, **parameters: Value) -> None:
        super().__init__(folder, max_body_bytes=100_000)
        self._parameters = parameters

    async def __aenter__(self) -> Site:
        await super().__aenter__()
        config = ChannelConfig("adt", "mllp", "127.0.0.1", 0, "", parameters=self._parameters)
        self.listener = await self.listen(Hl7Channel, config)
        return self

    async def device(self) -> MllpClient:
        host, _, port = self.listener.address.rpartition(":")
        return await MllpClient.connect(host, int(port))

    async def undecided(self, count: int) -> None:
        """Wait until so many messages have been accepted and are not on disk yet."""
        async with asyncio.timeout(10):
            while self.intake.buffered < count:
                await asyncio.sleep(0)

    async def answer_all(self, text: str = "OK") -> None:
        for sent in list(self.uplink.transmitted):
            control_id = sent.body.split("|")[9]
            body = f"MSH|^~\\&|EHR|MAIN|LAB|NORTH|20260105||ACK|9|P|2.5.1\rMSA|AA|{control_id}|{text}\r"
            self.uplink.answer(sent, body=body)
        self.uplink.transmitted.clear()


@pytest.mark.parametrize(("enhanced", "code"), [("true", "CA"), ("aa", "AA")])
async def test_a_positive_acknowledgment_leaves_after_the_commit(tmp_path: Path, enhanced: str, code: str) -> None:
    async with Site(tmp_path, enhanced=enhanced) as site, await site.device() as device:
        site.store.gate.clear()
        await device.send(message("1"), message("2"))
        await site.undecided(2)
        with pytest.raises(TimeoutError):
            await device.receive(timeout=0.2)
        site.store.gate.set()
        assert [msa(await device.receive()) for _ in range(2)] == [(code, "1"), (code, "2")]
        assert await site.states() == {State.RECEIVED: 2}


async def test_a_commit_that_fails_is_never_acknowledged_as_stored(tmp_path: Path) -> None:
    async with Site(tmp_path, enhanced="true") as site, await site.device() as device:
        site.store.refuse = lambda messages, _: any(each.control_id == "2" for each in messages)
        await device.send(message("1"), message("2"), message("3"))
        assert [msa(await device.receive()) for _ in range(3)] == [("CA", "1"), ("CE", "2"), ("CA", "3")]


async def test_a_refusal_waits_for_the_commit_and_for_a_failed_one_too(tmp_path: Path) -> None:
    async with Site(tmp_path, enhanced="true", missingControlId="reject") as site, await site.device() as device:
        for refused, code in ((False, "CA"), (True, "CE")):
            site.store.gate.clear()
            site.store.refuse = lambda messages, _, refused=refused: refused and bool(messages)
            await device.send(message(f"1{code}"), message(""), message(f"3{code}"))
            await site.undecided(2)
            site.store.gate.set()
            expected = [(code, f"1{code}"), ("CR", ""), (code, f"3{code}")]
            assert [msa(await device.receive()) for _ in range(3)] == expected


async def test_one_too_long_waits_for_those_before_it(tmp_path: Path) -> None:
    async with Site(tmp_path, enhanced="true", duplicateBehavior="reject") as site, await site.device() as device:
        await device.send(message("used"))
        assert msa(await device.receive()) == ("CA", "used")
        # refused by the core at once, by the store after the commit, and stored
        long = message("long", "NTE|1||" + "\x01" * 170_000)
        await device.send(message("used", "PID|2"), message("1"))
        assert [msa(await device.receive()) for _ in range(2)] == [("CR", "used"), ("CA", "1")]
        await device.send(message("2"), long[:99_000])
        assert msa(await device.receive()) == ("CA", "2")


async def test_the_newest_connection_gets_the_answer(tmp_path: Path) -> None:
    async with Site(tmp_path) as site, await site.device() as old, await site.device() as new:
        await old.send(message("1"))
        async with asyncio.timeout(10):
            while await site.states() != {State.RECEIVED: 1}:
                await asyncio.sleep(0.01)
        await new.send(message("1"), message("2"))
        async with asyncio.timeout(10):
            while await site.states() != {State.RECEIVED: 2}:
                await asyncio.sleep(0.01)
        site.uplink.connect()
        await site.sent(2)
        await site.answer_all()
        assert [msa(await new.receive()) for _ in range(2)] == [("AA", "1"), ("AA", "2")]
        with pytest.raises(TimeoutError):
            await old.receive(timeout=0.2)
        # when it has ended, whoever sends it again gets the stored answer
        await old.send(message("1"))
        assert msa(await old.receive()) == ("AA", "1")


async def test_without_a_control_id_nothing_is_a_copy(tmp_path: Path) -> None:
    async with Site(tmp_path, enhanced="true") as site, await site.device() as device:
        site.uplink.connect()
        await device.send(message(""), message(""))
        assert [msa(await device.receive()) for _ in range(2)] == [("CA", "")] * 2
        await site.sent(2)
        await site.answer_all()
        assert [msa(await device.receive()) for _ in range(2)] == [("AA", "")] * 2
        await device.send(message(""))
        assert msa(await device.receive()) == ("CA", "")
        await site.sent(1)
        assert sum((await site.states()).values()) == 3
