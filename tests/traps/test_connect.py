"""From the WebSocket's upgrade to the server's word that the agent is connected."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.fhir_server import TO_AGENT, FhirServer
from medagent.testing.site import Acknowledged, Site, adt
from medagent.uplink.websocket import WebSocketUplink


def errors(fhir: FhirServer) -> list[str]:
    """The texts of the errors that the server has sent."""
    return [exchange.frame["body"] for exchange in fhir.frames if exchange.frame.get("type") == "agent:error"]


async def test_an_upgrade_that_hangs_ends_in_a_new_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WebSocketUplink.__init__.__kwdefaults__ or {}, "open_timeout", 0.2)
    async with Site(tmp_path) as site:
        site.fhir.faults.hang_upgrade = True
        site.launch()
        shown = await site.until(lambda shown: "does not answer in time" in str(shown["reasons"]))
        assert shown["channels"][0]["state"] == "listening"
        device = await site.device()
        await device.send(adt("A"))
        assert site.running
        site.fhir.faults.hang_upgrade = False
        await site.until(lambda shown: shown["state"] == "ok")
        assert (await device.receive()).endswith(b"MSA|AA|A|OK")


async def test_a_lost_connect_response_ends_in_a_new_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medagent.uplink.session.CONNECT_TIMEOUT", 0.2)
    async with Site(tmp_path) as site:
        site.fhir.faults.swallow_connect_response = True
        site.launch()
        await site.fhir.wait_for(lambda fhir: fhir.journal.connects >= 2)
        device = await site.device()
        await device.send(adt("A"))
        connects = site.fhir.journal.connects
        await site.until(lambda shown: shown["queue"]["depth"] == 1)
        await site.fhir.wait_for(lambda fhir: fhir.journal.connects > connects)
        assert site.fhir.transmits == []
        site.fhir.faults.swallow_connect_response = False
        assert (await device.receive()).endswith(b"MSA|AA|A|OK")
        # heartbeats go both ways on it
        site.fhir.hub.send_heartbeats()
        await site.fhir.wait_for(lambda fhir: any(each.frame["type"] == "agent:heartbeat:response" for each in fhir.frames))


async def test_nothing_is_sent_before_the_connect_request_however_often_the_line_is_cut(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        device = await site.device()
        cuts = 3
        for number in range(cuts):
            connects = site.fhir.journal.connects
            # some are written as the socket closes
            await device.send(adt(f"A{number}"), adt(f"B{number}"))
            site.fhir.abort_sockets()
            await device.send(adt(f"C{number}"))
            await site.fhir.wait_for(lambda fhir, before=connects: fhir.journal.connects > before)
        answers = [await device.receive() for _ in range(3 * cuts)]
        assert {answer.split(b"MSA|AA|")[1][:2].decode() for answer in answers} == {
            f"{letter}{number}" for letter in "ABC" for number in range(cuts)
        }
        assert errors(site.fhir) == []


async def test_after_many_reconnects_each_request_of_the_server_comes_once(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        for _ in range(3):
            connects = site.fhir.journal.connects
            site.fhir.abort_sockets()
            await site.fhir.wait_for(lambda fhir, before=connects: fhir.journal.connects > before)
        site.fhir.hub.send_heartbeats()
        await site.fhir.wait_for(lambda fhir: any(each.frame["type"] == "agent:heartbeat:response" for each in fhir.frames))
        sent = [each.frame["type"] for each in site.fhir.frames if each.direction == TO_AGENT]
        assert sent.count("agent:heartbeat:request") == 1


async def test_status_of_the_server_shows_the_version_and_that_it_is_connected(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        site.fhir.hub.send_heartbeats()
        await site.fhir.wait_for(lambda fhir: any(each.frame["type"] == "agent:heartbeat:response" for each in fhir.frames))
        agent_id = site.fhir.frames[0].frame["agentId"]
        info = site.fhir.hub.info(agent_id)
        assert info.status == "connected"
        assert info.version.startswith("medagent-")
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
        await site.stop()
        await site.fhir.wait_for(lambda fhir: fhir.sockets == 0)
        assert site.fhir.hub.info(agent_id).status == "disconnected"
