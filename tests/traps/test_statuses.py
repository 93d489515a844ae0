"""What Agent.status and Endpoint.status mean: docs/statuses.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from medagent.testing.markdown import Page, rows
from medagent.testing.resources import AGENT_ID
from medagent.testing.site import Acknowledged, Site, Status, adt

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "statuses.md")
AGENT = {"active": True, "off": False, "error": True, "unknown": True, "on": True}
"""Whether the channels listen, by Agent.status; "on" stands for what no specification knows."""
ENDPOINT = {
    "active": True,
    "suspended": True,
    "error": True,
    "off": False,
    "entered-in-error": True,
    "test": True,
    "unknown": True,
}
"""Whether the channel listens, by Endpoint.status."""


@pytest.mark.parametrize("status", [status for status, listens in AGENT.items() if listens])
async def test_an_agent_that_is_not_off_runs_and_devices_get_their_answers(tmp_path: Path, status: str) -> None:
    async with Site(tmp_path, {"plain": "", "enhanced": "?enhanced=true"}, status=status) as site:
        await site.start()
        assert await site.exchange(adt("A"), channel="plain") == [Acknowledged("AA", "A")]
        answers = await site.exchange(adt("B"), channel="enhanced", answers=2)
        assert answers == [Acknowledged("CA", "B"), Acknowledged("AA", "B")]
        assert (await site.status())["agent"]["status"] == status


@pytest.mark.parametrize("status", [status for status, listens in AGENT.items() if not listens])
async def test_an_agent_that_is_off_keeps_its_connection_and_listens_nowhere(tmp_path: Path, status: str) -> None:
    async with Site(tmp_path, status=status) as site:
        shown = await (await site.start()).status()
        assert [channel["state"] for channel in shown["channels"]] == ["off"]
        assert shown["agent"]["status"] == status
        site.fhir.hub.send_heartbeats()
        await site.fhir.wait_for(lambda fhir: any(each.frame["type"] == "agent:heartbeat:response" for each in fhir.frames))
        assert site.fhir.hub.info(AGENT_ID).status == "connected"


async def test_what_was_queued_before_an_agent_was_off_waits_until_it_is_active(tmp_path: Path) -> None:
    async with Site(tmp_path, {"adt": "?enhanced=true"}) as site:
        await site.start()
        await site.fhir.close()
        assert await site.exchange(adt("A")) == [Acknowledged("CA", "A")]
        await site.stop()
        agent = site.fhir.get("Agent", AGENT_ID)
        assert agent is not None
        site.fhir.put(agent | {"status": "off"})
        await site.fhir.start()
        await site.start()
        assert (await site.status())["queue"]["depth"] == 1
        assert site.fhir.transmits == []
        site.fhir.put(agent | {"status": "active"})
        await site.stop()
        await site.start()
        await site.drained()
        assert [frame["body"].split("|")[9] for frame in site.fhir.journal.executed] == ["A"]


@pytest.mark.parametrize(("status", "listens"), ENDPOINT.items())
async def test_a_channel_whose_endpoint_is_not_off_runs(tmp_path: Path, status: str, listens: bool) -> None:
    async with Site(tmp_path, {"adt": "", "oru": ""}) as site:
        endpoint = site.fhir.get("Endpoint", "oru")
        assert endpoint is not None
        site.fhir.put(endpoint | {"status": status})
        await site.start()
        assert await site.exchange(adt("A"), channel="adt") == [Acknowledged("AA", "A")]
        assert named(await site.status()) == (["adt", "oru"] if listens else ["adt"])
        if listens:
            assert await site.exchange(adt("B"), channel="oru") == [Acknowledged("AA", "B")]


def named(shown: Status) -> list[str]:
    """The channels that listen."""
    return [channel["name"] for channel in shown["channels"] if channel["state"] == "listening"]


@pytest.mark.parametrize(("element", "statuses"), [("Agent.status", AGENT), ("Endpoint.status", ENDPOINT)])
def test_the_page_tells_of_each(element: str, statuses: dict[str, bool]) -> None:
    told = {cells[0].strip("`"): cells[1] for cells in rows(PAGE.section(element)) if cells[0].startswith("`")}
    assert set(told) == set(statuses) - {"on"}
    assert {status: listens == "yes" for status, listens in told.items()} == {status: statuses[status] for status in told}
