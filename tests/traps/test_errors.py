"""What the server or its bots answer when something goes wrong, and what devices and operators hear of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing import bots
from medagent.testing.resources import AGENT_ID
from medagent.testing.site import Acknowledged, Site, adt, read_ack
from medagent.types import State


async def test_an_error_that_names_no_message_costs_only_the_guilty_one(tmp_path: Path) -> None:
    def bot(request: bots.BotRequest) -> bots.BotResult:
        if "|BAD|" in request.body:
            site.fhir.hub.publish(AGENT_ID, {"type": "agent:error", "body": "this message cannot be served"})
            return bots.NO_ANSWER
        return bots.acknowledge(request)

    async with Site(tmp_path, bot=bot) as site:
        await site.start()
        device = await site.device()
        await device.send(adt("A"), adt("BAD"), adt("B"))
        answers = {read_ack(await device.receive()) for _ in range(3)}
        assert answers == {Acknowledged("AA", "A"), Acknowledged("AE", "BAD"), Acknowledged("AA", "B")}
        await site.stop()
        rows = {row.control_id: row for row in site.rows()}
        assert rows["BAD"].state is State.REJECTED
        assert rows["BAD"].error == "this message cannot be served"


async def test_an_error_out_of_nowhere_costs_no_message(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        site.fhir.hub.publish(AGENT_ID, {"type": "agent:error", "body": "about something else"})
        await site.until(lambda shown: shown["queue"]["server_errors"] == 1)
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_a_channel_that_the_server_does_not_know_waits_and_the_others_go_on(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "", "oru": ""}, settings={"channelAutoRetryMaxDelayMs": 50}) as site:
        await site.start()
        whole = site.fhir.get("Agent", AGENT_ID)
        assert whole is not None
        site.fhir.put(whole | {"channel": whole["channel"][1:]})
        waiting = await site.device("adt")
        await waiting.send(adt("A"))
        await site.until(lambda shown: any("adt: the server's Agent has no such channel" in why for why in shown["reasons"]))
        assert await site.exchange(adt("B"), channel="oru") == [Acknowledged("AA", "B")]
        site.fhir.put(whole)
        assert read_ack(await waiting.receive()) == Acknowledged("AA", "A")


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (None, "AA"),  # the server sends the bot's log in place of an answer
        ("just a string", "AA"),
        (bots.Reply(400, "Bot execution logs:\nbots are off"), "AE"),
    ],
    ids=["nothing", "no HL7", "bots are off"],
)
async def test_a_device_hears_of_every_end_of_a_bot(tmp_path: Path, result: bots.BotResult, code: str) -> None:
    async with Site(tmp_path, bot=lambda _: result) as site:
        await site.start()
        assert await site.exchange(adt("A")) == [Acknowledged(code, "A")]


async def test_a_failure_behind_an_aa_is_shown_to_the_operator(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "?enhanced=aa"}, bot=bots.fail) as site:
        await site.start()
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
        shown = await site.until(lambda shown: shown["queue"]["depth"] == 0)
        assert shown["queue"]["states"]["rejected"] == 1


@pytest.mark.parametrize("kind", ["agent:unheard-of:request", "agent:stats:request"])
async def test_a_request_of_an_unknown_type_is_answered_at_once(tmp_path: Path, kind: str) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        answer = await site.fhir.hub.request(AGENT_ID, {"type": kind}, 5.0)
        assert answer["type"] == "agent:error"
        assert kind in answer["body"]


async def test_frames_that_make_no_sense_end_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        for frame in ({"type": "agent:unheard-of"}, {"type": None}, {}, {"type": "agent:transmit:response", "body": 7}):
            site.fhir.hub.publish(AGENT_ID, frame)
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
        assert site.fhir.journal.upgrades == 1
