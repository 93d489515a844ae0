"""The configuration is read again while the agent works (`$reload-config`)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from medagent.testing.bots import HL7
from medagent.testing.in_process import free_port
from medagent.testing.mllp_server import MllpServer, acknowledge
from medagent.testing.resources import AGENT_ID, agent_resource, channel, device_resource, endpoint_resource
from medagent.testing.site import Acknowledged, Site, adt, read_ack, ready

ALL_OK = "All OK"


async def reload(site: Site) -> str:
    """What the caller of `$reload-config` is told."""
    outcome = await site.fhir.reload_config(AGENT_ID)
    assert outcome is not None
    text: str = outcome["issue"][0]["details"]["text"]
    assert "does not serve" not in text
    return text


def move(site: Site, name: str, address: str) -> None:
    """Give a channel's Endpoint another address."""
    site.fhir.put(endpoint_resource(name, address))


async def test_an_unchanged_channel_keeps_its_connections(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "", "oru": ""}) as site:
        await site.start()
        device = await site.device("adt")
        move(site, "oru", f"mllp://127.0.0.1:{free_port()}")
        assert await reload(site) == ALL_OK
        await device.send(adt("A"))
        assert read_ack(await device.receive()) == Acknowledged("AA", "A")


@pytest.mark.parametrize("again", [1, 2])
async def test_a_port_that_is_taken_is_told_and_changes_nothing(tmp_path: Path, again: int) -> None:
    """A second reload must not say that all is well either."""
    async with MllpServer() as holder, Site(tmp_path, {"adt": "", "oru": ""}) as site:
        await site.start()
        move(site, "oru", f"mllp://127.0.0.1:{holder.port}")
        for _ in range(again):
            text = await asyncio.wait_for(reload(site), 4.5)
            assert text not in (ALL_OK, "Timeout")
            assert str(holder.port) in text
        assert await site.exchange(adt("A"), channel="adt") == [Acknowledged("AA", "A")]
        assert await site.exchange(adt("B"), channel="oru") == [Acknowledged("AA", "B")]


async def test_a_port_that_was_taken_can_be_had_by_a_later_reload(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        async with MllpServer() as holder:
            port = holder.port
            move(site, "adt", f"mllp://127.0.0.1:{port}")
            assert await reload(site) not in (ALL_OK, "Timeout")
        assert await reload(site) == ALL_OK
        await site.until(ready)
        assert (await site.status())["channels"][0]["address"] == f"127.0.0.1:{port}"
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


@pytest.mark.parametrize("address", ["mllp://127.0.0.1", "not an address", "http://127.0.0.1:1", "gopher://127.0.0.1:70"])
async def test_an_address_that_cannot_be_used_is_told_and_changes_nothing(tmp_path: Path, address: str) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        move(site, "adt", address)
        assert await reload(site) not in (ALL_OK, "Timeout")
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_a_new_channel_that_cannot_run_is_told(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        site.fhir.put(endpoint_resource("odd", "gopher://127.0.0.1:70"))
        site.fhir.put(agent_resource([channel("adt", "adt"), channel("odd", "odd")]))
        text = await reload(site)
        assert text not in (ALL_OK, "Timeout")
        assert "odd" in text or "gopher" in text


async def test_a_change_of_the_host_alone_counts(tmp_path: Path) -> None:
    port = free_port()
    async with Site(tmp_path, {"adt": f"mllp://127.0.0.1:{port}"}) as site:
        await site.start()
        move(site, "adt", f"mllp://127.0.0.2:{port}")
        assert await reload(site) == ALL_OK
        await site.until(ready)
        assert (await site.status())["channels"][0]["address"] == f"127.0.0.2:{port}"
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]


async def test_all_problems_come_at_once(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "", "oru": ""}) as site:
        await site.start()
        move(site, "adt", "mllp://127.0.0.1")
        site.fhir.delete("Endpoint", "oru")
        text = await reload(site)
        assert "adt" in text
        assert "oru" in text


async def test_a_push_in_flight_survives(tmp_path: Path) -> None:
    identifier = "d0000000-0000-4000-8000-000000000001"
    async with MllpServer(lambda _: []) as receiver:
        devices = [device_resource(identifier, f"mllp://127.0.0.1:{receiver.port}")]
        async with Site(tmp_path, devices=devices) as site:
            await site.start()
            arguments = {
                "destination": f"Device/{identifier}",
                "contentType": HL7,
                "body": adt("P1").decode(),
                "waitForResponse": True,
            }
            pushing = asyncio.ensure_future(site.fhir.operations.post(AGENT_ID, "$push", {}, arguments))
            await receiver.wait_for(1, timeout=2.0)
            assert await reload(site) == ALL_OK
            receiver.connections[0].send(*acknowledge(adt("P1"), "AA"))
            result = await pushing
            assert (result.status, "MSA|AA|P1" in result.text) == (200, True)


async def test_a_status_counts_with_the_reload(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        agent = site.fhir.get("Agent", AGENT_ID)
        assert agent is not None
        site.fhir.put(agent | {"status": "off"})
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
        assert await reload(site) == ALL_OK
        await site.until(lambda shown: not any(each["state"] == "listening" for each in shown["channels"]))
        site.fhir.put(agent)
        assert await reload(site) == ALL_OK
        await site.until(lambda shown: [each["state"] for each in shown["channels"]] == ["listening"])
        assert await site.exchange(adt("B")) == [Acknowledged("AA", "B")]


async def test_an_agent_resource_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        await site.start()
        site.fhir.delete("Agent", AGENT_ID)
        answer = await site.fhir.hub.request(AGENT_ID, {"type": "agent:reloadconfig:request"}, 5.0)
        assert answer["type"] == "agent:error"
        assert AGENT_ID in answer["body"]
        site.fhir.put(agent_resource({"adt": "adt"}))
        assert await site.exchange(adt("A")) == [Acknowledged("AA", "A")]
