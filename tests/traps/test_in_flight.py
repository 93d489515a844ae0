"""Messages on their way while connections of the server and of devices come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

from medagent.testing import bots
from medagent.testing.in_process import free_port
from medagent.testing.site import Acknowledged, Site, adt, read_ack
from medagent.types import State


class GatedBot:
    """Acknowledges each message once the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def __call__(self, request: bots.BotRequest) -> bots.BotResult:
        await self.gate.wait()
        return bots.acknowledge(request)


async def test_a_frame_in_flight_when_the_connection_is_lost_is_answered_all_the_same(tmp_path: Path) -> None:
    bot = GatedBot()
    async with Site(tmp_path, bot=bot) as site:
        await site.start()
        device = await site.device()
        await device.send(adt("A"))
        await site.fhir.wait_for(1)
        site.fhir.abort_sockets()
        bot.gate.set()
        assert read_ack(await device.receive()) == Acknowledged("AA", "A")
        first, second = site.fhir.transmits
        assert first["callback"] == second["callback"]


async def test_an_answer_never_goes_to_another_device_that_has_the_same_port(tmp_path: Path) -> None:
    bot = GatedBot()
    port = free_port()
    async with Site(tmp_path, bot=bot) as site:
        await site.start()
        first = await site.device(local_port=port)
        await first.send(adt("A"))
        await site.fhir.wait_for(1)
        first.reset()
        await site.until(lambda shown: shown["channels"][0]["connections"] == 0)
        second = await site.device(local_port=port)
        await second.send(adt("B"))
        await site.fhir.wait_for(2)
        one, two = site.fhir.transmits
        assert one["remote"] == two["remote"]
        bot.gate.set()
        assert read_ack(await second.receive()) == Acknowledged("AA", "B")
        await site.drained()
        await second.send(adt("C"))
        assert read_ack(await second.receive()) == Acknowledged("AA", "C")
        await site.stop()
        assert [row.state for row in site.rows()] == [State.RESPONSE_UNDELIVERED, State.RESPONSE_SENT, State.RESPONSE_SENT]


async def test_a_device_that_was_gone_gets_the_stored_answer_when_it_sends_again(tmp_path: Path) -> None:
    bot = GatedBot()
    async with Site(tmp_path, bot=bot) as site:
        await site.start()
        device = await site.device()
        await device.send(adt("A"))
        await site.fhir.wait_for(1)
        device.reset()
        await site.until(lambda shown: shown["channels"][0]["connections"] == 0)
        bot.gate.set()
        await site.drained()
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
        assert len(site.fhir.journal.executed) == 1


async def test_an_answer_that_comes_twice_reaches_the_device_once(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        site.fhir.faults.answer_twice = True
        await site.start()
        assert await site.exchange(adt("A"), adt("B")) == [Acknowledged("AA", "A"), Acknowledged("AA", "B")]
        assert await site.exchange(adt("C")) == [Acknowledged("AA", "C")]
        await site.until(lambda shown: shown["queue"]["unmatched_answers"] == 3)


async def test_an_answer_under_an_unknown_key_is_no_answer(tmp_path: Path) -> None:
    async with Site(tmp_path, settings={"responseTimeoutMs": 1000}) as site:
        site.fhir.faults.unknown_callback = True
        await site.start()
        device = await site.device()
        await device.send(adt("A"))
        await site.until(lambda shown: shown["queue"]["unmatched_answers"] == 1)
        site.fhir.faults.unknown_callback = False
        assert read_ack(await device.receive()) == Acknowledged("AA", "A")
        assert len({frame["callback"] for frame in site.fhir.transmits}) == 1


async def test_a_stop_with_unsent_messages_keeps_them(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "?enhanced=true"}) as site:
        await site.start()
        await site.fhir.close()
        assert await site.exchange(adt("A"), adt("B")) == [Acknowledged("CA", "A"), Acknowledged("CA", "B")]
        await site.stop()
        assert [row.state.ended for row in site.rows()] == [False, False]
        await site.fhir.start()
        await site.start()
        await site.drained()
        assert [frame["body"].split("|")[9] for frame in site.fhir.journal.executed] == ["A", "B"]
