"""Frames above the server's limit: it closes the WebSocket over them, and names none."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from medagent.testing.resources import AGENT_ID, setting
from medagent.testing.site import Acknowledged, Site, adt, read_ack
from medagent.types import State


def large(control_id: str) -> bytes:
    """A message that no frame of a server's usual limit can hold."""
    return adt(control_id) + b"OBX|1|ED|||" + b"A" * 1_100_000 + b"\r"


async def test_it_ends_as_dead_letter_after_a_few_connections_and_the_others_arrive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"maxFrameBytes": 4_000_000, "channelAutoRetryBaseDelayMs": 10}
    async with Site(tmp_path, {"adt": "?enhanced=true"}, settings=settings) as site:
        await site.start()
        device = await site.device()
        await device.send(adt("S1"), large("L"), adt("S2"))
        answers = [read_ack(await device.receive(timeout=60)) for _ in range(6)]
        assert set(answers) == {
            *(Acknowledged("CA", name) for name in ("S1", "L", "S2")),
            *(Acknowledged("AA", "S1"), Acknowledged("AE", "L"), Acknowledged("AA", "S2")),
        }
        # as few as three if the close code reaches the agent, a few more if the connection is just lost
        assert site.fhir.journal.upgrades <= 10
        await site.stop()
        ended = {row.control_id: row for row in site.rows()}
        assert ended["L"].state is State.DEAD_LETTER
        assert "maxFrameBytes" in (ended["L"].error or "")
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any("ends as dead_letter" in text and "maxFrameBytes" in text for text in told)


async def test_what_was_accepted_under_a_larger_limit_is_not_even_sent(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "?enhanced=true"}, settings={"maxFrameBytes": 4_000_000}) as site:
        await site.start()
        await site.fhir.close()
        assert await site.exchange(large("L"), adt("S")) == [Acknowledged("CA", "L"), Acknowledged("CA", "S")]
        await site.stop()
        agent = site.fhir.get("Agent", AGENT_ID)
        assert agent is not None
        site.fhir.put(agent | {"setting": [setting("maxFrameBytes", 1_048_576)]})
        await site.fhir.start()
        opened = site.fhir.journal.upgrades
        await site.start()
        await site.drained()
        assert [frame["body"].split("|")[9] for frame in site.fhir.transmits] == ["S"]
        assert site.fhir.journal.upgrades == opened + 1
        await site.stop()
        states = {row.control_id: row.state for row in site.rows()}
        assert states == {"L": State.DEAD_LETTER, "S": State.RESPONSE_UNDELIVERED}
